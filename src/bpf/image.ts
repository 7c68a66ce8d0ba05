/**
 * What the builder hands to a loader: plain data that depends on no running kernel. `kernel/` turns
 * a `MapSpec` into a map and a `ProgramImage` into a program; nothing else reads these.
 */
import type { Layout } from "./layout.ts";

/** Map types, spelled as in include/uapi/linux/bpf.h. */
export const MapType = {
  BPF_MAP_TYPE_HASH: 1,
  BPF_MAP_TYPE_ARRAY: 2,
  BPF_MAP_TYPE_PROG_ARRAY: 3,
  BPF_MAP_TYPE_PERCPU_HASH: 5,
  BPF_MAP_TYPE_PERCPU_ARRAY: 6,
  BPF_MAP_TYPE_LRU_HASH: 9,
  BPF_MAP_TYPE_LPM_TRIE: 11,
  BPF_MAP_TYPE_ARRAY_OF_MAPS: 12,
  BPF_MAP_TYPE_DEVMAP: 14,
  BPF_MAP_TYPE_RINGBUF: 27,
  BPF_MAP_TYPE_ARENA: 33,
} as const;
export type MapType = (typeof MapType)[keyof typeof MapType];

export const MapFlag = {
  BPF_F_NO_PREALLOC: 1 << 0,
  BPF_F_RDONLY_PROG: 1 << 7,
  BPF_F_MMAPABLE: 1 << 10,
  BPF_F_INNER_MAP: 1 << 12,
} as const;

/** A map as programs see it. Identity matters: one `MapSpec` object is one map of one loaded set. */
export interface MapSpec {
  /** At most 15 characters: the kernel keeps no more. */
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Gives the map BTF, so that `bpftool map dump` prints field names. */
  readonly value: Layout | null;
  /** The same for its keys; plain numbers or bytes without. */
  readonly key?: Layout;
}

export const ProgramType = {
  BPF_PROG_TYPE_SOCKET_FILTER: 1,
  BPF_PROG_TYPE_SCHED_CLS: 3,
  BPF_PROG_TYPE_XDP: 6,
  BPF_PROG_TYPE_SYSCALL: 31,
} as const;
export type ProgramType = (typeof ProgramType)[keyof typeof ProgramType];

/** A two-slot `ld_imm64` whose first immediate is the file descriptor of `map` (both relocation kinds keep the second). */
export interface MapRelocation {
  /** Index in instructions (8 bytes each) of the first slot. */
  readonly instruction: number;
  readonly map: MapSpec;
}

/** An instruction that names something of the kernel: a function it calls, or a variable whose address it loads. */
export interface KernelSymbol {
  readonly instruction: number;
  readonly kind: "function" | "variable";
  readonly name: string;
}

/** Where an instruction comes from, 1-based; `file` is an absolute path. */
export interface SourceLine {
  readonly instruction: number;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

export interface ProgramImage {
  readonly name: string;
  readonly type: ProgramType;
  readonly license: string;
  /** Encoded instructions, 8 bytes each, little endian. */
  readonly instructions: Uint8Array;
  readonly maps: readonly MapRelocation[];
  /** What the loader looks up in the kernel's own BTF. */
  readonly symbols?: readonly KernelSymbol[];
  /** Where each function starts, the program's own first. */
  readonly functions?: readonly { readonly instruction: number; readonly name: string }[];
  /** Whole BTF blob for BPF_BTF_LOAD. */
  readonly btf: Uint8Array;
  /** `struct bpf_func_info[]`, 8 bytes each. */
  readonly funcInfo: Uint8Array;
  /** `struct bpf_line_info[]`, 16 bytes each. */
  readonly lineInfo: Uint8Array;
  /** The same lines, for messages. */
  readonly lines: readonly SourceLine[];
}
