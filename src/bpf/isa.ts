/**
 * The instruction set as bytes (RFC 9669). One instruction is eight bytes:
 *
 *     code:8 | dst:4 src:4 | offset:16 signed | imm:32 signed      little endian, dst in the low nibble
 *
 * `ld_imm64` takes two. Nothing here decides anything; `encode.ts` chooses, `disassemble.ts` prints.
 */

/** Instruction class: the low three bits of `code`. */
export const Class = {
  LD: 0x00,
  LDX: 0x01,
  ST: 0x02,
  STX: 0x03,
  ALU: 0x04,
  JMP: 0x05,
  JMP32: 0x06,
  ALU64: 0x07,
} as const;

/** Operand source: bit 3 of ALU and jump codes. */
export const Source = { IMM: 0x00, REG: 0x08 } as const;

/** Arithmetic: the high four bits of `code`. */
export const Alu = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  arsh: 0xc0,
  end: 0xd0,
} as const;
/** Signed division and modulo share the code of the unsigned ones, with an offset of 1. */
export type AluName = Exclude<keyof typeof Alu, "neg" | "mov" | "end"> | "sdiv" | "smod";

/** Jumps: the high four bits of `code`. */
export const Jump = {
  ja: 0x00,
  eq: 0x10,
  gt: 0x20,
  ge: 0x30,
  set: 0x40,
  ne: 0x50,
  sgt: 0x60,
  sge: 0x70,
  call: 0x80,
  exit: 0x90,
  lt: 0xa0,
  le: 0xb0,
  slt: 0xc0,
  sle: 0xd0,
  /** `may_goto`, with `src` 0. */
  cond: 0xe0,
} as const;
export type JumpName = Exclude<keyof typeof Jump, "ja" | "call" | "exit" | "cond">;

/** The jump that is taken where another is not; there is none for `set`. */
export const INVERSE_JUMP: Partial<Record<JumpName, JumpName>> = {
  eq: "ne",
  ne: "eq",
  gt: "le",
  le: "gt",
  ge: "lt",
  lt: "ge",
  sgt: "sle",
  sle: "sgt",
  sge: "slt",
  slt: "sge",
};

/** Memory access: mode in the high three bits, size in bits 3 and 4. */
export const Mode = {
  IMM: 0x00,
  /** Of the packet, at a constant and at a register and a constant (RFC 9669 §5.5). */
  ABS: 0x20,
  IND: 0x40,
  MEM: 0x60,
  MEMSX: 0x80,
  ATOMIC: 0xc0,
} as const;
export const SizeBits = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 } as const;
export type Size = 1 | 2 | 4 | 8;

/** A 64-bit register move with this `offset` casts; `imm` says into and from which address space. */
export const ADDRESS_CAST = 1;
export const AddressCast = {
  /** From what user space sees to what programs access, and back. */
  program: (0 << 16) | 1,
  user: (1 << 16) | 0,
} as const;

/** `imm` of atomic instructions; `| FETCH` returns the old value in the source register. */
export const Atomic = {
  add: 0x00,
  or: 0x40,
  and: 0x50,
  xor: 0xa0,
  FETCH: 0x01,
  exchange: 0xe1,
  compareExchange: 0xf1,
  loadAcquire: 0x100,
  storeRelease: 0x110,
} as const;
export type AtomicName = "add" | "or" | "and" | "xor" | "exchange";

/** `src` of `ld_imm64` (include/uapi/linux/bpf.h). */
export const Pseudo = { NONE: 0, MAP_FD: 1, MAP_VALUE: 2, BTF_ID: 3, FUNC: 4 } as const;

/** `src` of call. */
export const CallKind = { HELPER: 0, FUNCTION: 1, KFUNC: 2 } as const;

/** The frame pointer, read-only. */
export const FRAME = 10;
/** Where packet loads take their context from. */
export const CONTEXT = 6;
export const INSTRUCTION_SIZE = 8;
export const STACK_SIZE = 512;

export interface Instruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly offset: number;
  readonly imm: number;
}

/** Encodes instructions, eight bytes each. */
export function assembleInstructions(instructions: readonly Instruction[]): Uint8Array {
  const out = new Uint8Array(instructions.length * INSTRUCTION_SIZE);
  const view = new DataView(out.buffer);
  instructions.forEach((instruction, index) => {
    const at = index * INSTRUCTION_SIZE;
    view.setUint8(at, instruction.code);
    view.setUint8(at + 1, instruction.dst | (instruction.src << 4));
    view.setInt16(at + 2, instruction.offset, true);
    view.setInt32(at + 4, instruction.imm, true);
  });
  return out;
}

/**
 * Decodes instructions.
 * @throws {RangeError} when the length is not a multiple of eight
 */
export function decodeInstructions(bytes: Uint8Array): Instruction[] {
  if (bytes.length % INSTRUCTION_SIZE !== 0) {
    throw new RangeError(`Cannot decode instructions: ${bytes.length} bytes are not whole ones`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / INSTRUCTION_SIZE }, (_, index) => {
    const at = index * INSTRUCTION_SIZE;
    const registers = view.getUint8(at + 1);
    return {
      code: view.getUint8(at),
      dst: registers & 0xf,
      src: registers >> 4,
      offset: view.getInt16(at + 2, true),
      imm: view.getInt32(at + 4, true),
    };
  });
}
