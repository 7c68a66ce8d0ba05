/** Reads counters out of their memory: sums over all CPUs, without a system call. */
import type { BpfMap, MappedValues } from "../kernel/maps.ts";
import type { Counters } from "./counters.ts";
import { Counter } from "./layout.ts";

/** Since the start; 64 bits, so `bigint`. */
export interface CounterValue {
  readonly packets: bigint;
  readonly bytes: bigint;
}

const WORDS = Counter.size / 8;

export class CounterMemory {
  readonly #mapped: MappedValues;
  readonly #words: BigUint64Array;
  readonly #regionWords: number;

  /** `map` is the one that `counters` declares. @throws {KernelError} MAP_ACCESS */
  constructor(map: BpfMap, { regionBytes }: Counters) {
    this.#mapped = map.mmap();
    const { bytes } = this.#mapped;
    this.#words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
    this.#regionWords = regionBytes / 8;
  }

  /** Counter `index`, summed over all CPUs. Each addend is read whole, though not all at one moment. */
  read(index: number): CounterValue {
    let packets = 0n;
    let bytes = 0n;
    for (let at = index * WORDS; at < this.#words.length; at += this.#regionWords) {
      packets += this.#words[at] ?? 0n;
      bytes += this.#words[at + 1] ?? 0n;
    }
    return { packets, bytes };
  }

  /** `count` counters from `index` on. */
  readMany(index: number, count: number): readonly CounterValue[] {
    return Array.from({ length: count }, (_, at) => this.read(index + at));
  }

  /** Nothing may be read afterwards. */
  close(): void {
    this.#mapped.unmap();
  }
}
