/**
 * The arena from outside: regions given out and taken back, and the aligned atomic stores that make a
 * change visible to packets. A region given back is used again only after a grace period, when no
 * program run can still be reading it.
 */
import { ArenaHeader } from "../datapath/layout.ts";

/** Every region starts on a cache line: the records' alignment. */
const LINE = 64;

interface Region {
  readonly offset: number;
  readonly size: number;
}

/** Offsets and sizes are bytes from the arena's start. */
export class Arena {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;
  readonly #gracePeriod: () => Promise<void>;
  /** Sorted by offset, never adjacent. */
  #free: readonly Region[];
  readonly #used = new Map<number, number>();
  /** Given back, but perhaps still read: their grace period runs, or could not be waited for. */
  readonly #obsolete = new Map<number, symbol>();

  /** `bytes` is the map's memory; `gracePeriod` resolves when every program run of now has ended. */
  constructor(bytes: Uint8Array, gracePeriod: () => Promise<void>) {
    this.#bytes = bytes;
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    this.#longs = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 3);
    this.#gracePeriod = gracePeriod;
    this.#free = [{ offset: ArenaHeader.size, size: bytes.byteLength - ArenaHeader.size }];
  }

  get freeBytes(): number {
    return this.#free.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Takes a region of at least `size` bytes, all zero.
   * @throws {RangeError} when no free region is large enough
   */
  allocate(size: number): number {
    const rounded = Math.max(LINE, Math.ceil(size / LINE) * LINE);
    const fitting = this.#free.find((region) => region.size >= rounded);
    if (fitting === undefined) {
      throw new RangeError(
        `Cannot take ${size} bytes of the arena: ${this.freeBytes} of ${this.#bytes.length} are free, none in one piece`,
      );
    }
    const rest = { offset: fitting.offset + rounded, size: fitting.size - rounded };
    this.#free = this.#free.flatMap((region) => {
      if (region !== fitting) return [region];
      return rest.size > 0 ? [rest] : [];
    });
    this.#used.set(fitting.offset, rounded);
    this.#bytes.fill(0, fitting.offset, fitting.offset + rounded);
    return fitting.offset;
  }

  /**
   * Gives regions back once nobody can be reading them. They must no longer be reachable. When the
   * grace period cannot be waited for this rejects, and they become free with the next release.
   */
  async release(offsets: readonly number[]): Promise<void> {
    for (const offset of offsets) {
      if (!this.#used.has(offset) || this.#obsolete.has(offset))
        throw new Error(`Cannot give back region ${offset}: it is not in use`);
      this.#obsolete.set(offset, Symbol());
    }
    if (this.#obsolete.size === 0) return;
    const unreachable = [...this.#obsolete];
    await this.#gracePeriod();
    for (const [offset, since] of unreachable) {
      // A release that ran beside this one may have been faster, and the region in use again since.
      if (this.#obsolete.get(offset) !== since) continue;
      this.#obsolete.delete(offset);
      const size = this.#used.get(offset) ?? 0;
      this.#used.delete(offset);
      this.#free = merged([...this.#free, { offset, size }]);
    }
  }

  /** Bytes of a region, to fill before it is published. */
  region(offset: number, size: number): Uint8Array {
    return this.#bytes.subarray(offset, offset + size);
  }

  /** One atomic 32-bit store; `offset` is a multiple of 4. */
  store32(offset: number, value: number): void {
    Atomics.store(this.#words, offset >> 2, value);
  }

  /** One atomic 64-bit store; `offset` is a multiple of 8. */
  store64(offset: number, value: bigint): void {
    Atomics.store(this.#longs, offset >> 3, value);
  }
}

function merged(regions: readonly Region[]): readonly Region[] {
  const out: Region[] = [];
  for (const region of regions.toSorted((a, b) => a.offset - b.offset)) {
    const last = out.at(-1);
    if (last !== undefined && last.offset + last.size === region.offset) {
      out[out.length - 1] = { offset: last.offset, size: last.size + region.size };
    } else {
      out.push(region);
    }
  }
  return out;
}
