/**
 * bpf(2) itself: commands, and the attribute structure each takes. Offsets are those of `union
 * bpf_attr` in include/uapi/linux/bpf.h; a kernel accepts an attribute longer than the one it knows
 * if the rest is zero, and one that is shorter.
 */
import { addressOf, call, memory } from "./libc.ts";

export const BpfCommand = {
  BPF_MAP_CREATE: 0,
  BPF_MAP_LOOKUP_ELEM: 1,
  BPF_MAP_UPDATE_ELEM: 2,
  BPF_MAP_DELETE_ELEM: 3,
  BPF_MAP_GET_NEXT_KEY: 4,
  BPF_PROG_LOAD: 5,
  BPF_OBJ_PIN: 6,
  BPF_OBJ_GET: 7,
  BPF_PROG_TEST_RUN: 10,
  BPF_PROG_GET_FD_BY_ID: 13,
  BPF_MAP_GET_FD_BY_ID: 14,
  BPF_OBJ_GET_INFO_BY_FD: 15,
  BPF_PROG_QUERY: 16,
  BPF_BTF_LOAD: 18,
  BPF_MAP_LOOKUP_BATCH: 24,
  BPF_MAP_UPDATE_BATCH: 26,
  BPF_LINK_CREATE: 28,
  BPF_LINK_UPDATE: 29,
  BPF_ENABLE_STATS: 32,
  BPF_LINK_DETACH: 34,
} as const;
export type BpfCommand = (typeof BpfCommand)[keyof typeof BpfCommand];

// arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
const SYS_BPF = process.arch === "arm64" ? 280 : 321;

/** Names of objects: BPF_OBJ_NAME_LEN is 16 with the final NUL. */
export const MAX_NAME_LENGTH = 15;

/**
 * An attribute in off-heap memory, made once and filled again for every call. Pointers are written
 * as addresses; the attribute keeps what they point to alive.
 */
export class BpfAttribute {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #targets = new Map<number, Uint8Array>();

  constructor(size: number) {
    this.bytes = memory(size);
    this.#view = new DataView(this.bytes.buffer, 0, size);
  }

  /** Zeroes it, and returns it for the next call. */
  clear(): this {
    this.bytes.fill(0);
    this.#targets.clear();
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(at: number, value: bigint): this {
    this.#view.setBigUint64(at, value, true);
    return this;
  }

  /** Writes the address of off-heap memory. */
  pointer(at: number, to: Uint8Array): this {
    this.#targets.set(at, to);
    this.#view.setBigUint64(at, addressOf(to), true);
    return this;
  }

  /**
   * Writes an object's name.
   * @throws {RangeError} when it has more than 15 characters
   */
  name(at: number, name: string): this {
    if (name.length > MAX_NAME_LENGTH) {
      throw new RangeError(
        `Cannot name a kernel object "${name}": ${name.length} characters, the kernel keeps ${MAX_NAME_LENGTH}`,
      );
    }
    for (let i = 0; i < name.length; i++) this.#view.setUint8(at + i, name.charCodeAt(i));
    return this;
  }

  readU32(at: number): number {
    return this.#view.getUint32(at, true);
  }
}

// Held here since the collector might think an attribute unused once its bytes are on their way.
const underWay: { attribute: BpfAttribute | null } = { attribute: null };

/**
 * Calls bpf(2) and returns its result, a file descriptor or 0.
 * @throws {SystemError}
 */
export function bpf(command: BpfCommand, attribute: BpfAttribute): number {
  underWay.attribute = attribute;
  try {
    return call("syscall", SYS_BPF, command, attribute.bytes, attribute.bytes.length);
  } finally {
    underWay.attribute = null;
  }
}

const infoAttribute = new BpfAttribute(16);

/**
 * Fills `into` (off-heap, possibly with in-arguments set) with the `bpf_*_info` of an object and
 * returns how many bytes this kernel knows.
 * @throws {SystemError}
 */
export function objectInfo(fd: number, into: Uint8Array): number {
  const attribute = infoAttribute.clear().u32(0, fd).u32(4, into.length).pointer(8, into);
  bpf(BpfCommand.BPF_OBJ_GET_INFO_BY_FD, attribute);
  return attribute.readU32(4);
}

/** A NUL-terminated string at `at`, at most `size` bytes. */
export function textAt(from: Uint8Array, at: number, size: number): string {
  const field = from.subarray(at, at + size);
  const end = field.indexOf(0);
  return Buffer.from(field.subarray(0, end < 0 ? size : end)).toString("latin1");
}
