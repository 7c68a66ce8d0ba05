/**
 * Prints instructions as the kernel and `bpftool prog dump xlated` do (kernel/bpf/disasm.c). Where
 * those print addresses and ids, the names an image knows stand here.
 */
import { helperName } from "./helpers.ts";
import {
  ADDRESS_CAST,
  Alu,
  Atomic,
  CallKind,
  Class,
  decodeInstructions,
  type Instruction,
  Jump,
  Mode,
  Pseudo,
  Source,
} from "./isa.ts";
import type { ProgramImage } from "./image.ts";
import { shortName } from "./source.ts";

/** One line an instruction, `index: (code) text`; an image's source lines stand before what they emitted. */
export function disassemble(
  image: Pick<ProgramImage, "instructions"> & Partial<ProgramImage>,
  options: { readonly sources?: boolean } = {},
): string {
  const sources = new Map(
    options.sources === true
      ? image.lines?.map((line) => [
          line.instruction,
          `; ${line.text} @ ${shortName(line.file)}:${line.line}`,
        ])
      : [],
  );
  const maps = new Map(image.maps?.map(({ instruction, map }) => [instruction, map.name]));
  const symbols = new Map(image.symbols?.map(({ instruction, name }) => [instruction, name]));
  const functions = new Map(
    (image.functions?.length ?? 0) > 1
      ? image.functions?.map(({ instruction, name }) => [instruction, name])
      : [],
  );
  const instructions = decodeInstructions(image.instructions);
  const out: string[] = [];
  for (let index = 0; index < instructions.length; index += 1) {
    const instruction = instructions[index] as Instruction;
    const name = functions.get(index);
    if (name !== undefined) out.push(`${name}:`);
    const source = sources.get(index);
    if (source !== undefined) out.push(source);
    const next = instructions[index + 1];
    const text = isWide(instruction)
      ? wideText(instruction, next?.imm ?? 0, maps.get(index) ?? symbols.get(index))
      : instructionText(instruction, symbols.get(index));
    out.push(`${String(index).padStart(4)}: (${hex(instruction.code)}) ${text}`);
    if (isWide(instruction)) index += 1;
  }
  return out.join("\n");
}

const isWide = ({ code }: Instruction): boolean => code === (Class.LD | Mode.IMM | 0x18);

function wideText({ dst, src, imm }: Instruction, high: number, name: string | undefined): string {
  switch (src) {
    case Pseudo.MAP_FD:
      return `r${dst} = map[${name ?? `fd:${imm}`}]`;
    case Pseudo.MAP_VALUE:
      return `r${dst} = map[${name ?? `fd:${imm}`}][0]+${high}`;
    case Pseudo.BTF_ID:
      return `r${dst} = ksym[${name ?? `id:${imm}`}]`;
    case Pseudo.FUNC:
      return `r${dst} = subprog[${signed(imm)}]`;
    default: {
      const value = (BigInt(high >>> 0) << 32n) | BigInt(imm >>> 0);
      return `r${dst} = 0x${value.toString(16)}`;
    }
  }
}

function instructionText(instruction: Instruction, symbol: string | undefined): string {
  const { code, dst, src, offset, imm } = instruction;
  switch (code & 0x07) {
    case Class.LD:
      return packetText(instruction);
    case Class.LDX:
      return `r${dst} = *(${memoryType(code)} *)(r${src} ${signed(offset)})`;
    case Class.ST:
      return `*(${memoryType(code)} *)(r${dst} ${signed(offset)}) = ${imm}`;
    case Class.STX:
      if ((code & 0xe0) === Mode.ATOMIC) return atomicText(instruction);
      return `*(${memoryType(code)} *)(r${dst} ${signed(offset)}) = r${src}`;
    case Class.ALU:
      return aluText(instruction, "w");
    case Class.ALU64:
      return aluText(instruction, "r");
    case Class.JMP:
      return jumpText(instruction, "r", symbol);
    case Class.JMP32:
      return jumpText(instruction, "w", symbol);
    default:
      return `unknown ${hex(code)}`;
  }
}

function packetText({ code, src, imm }: Instruction): string {
  const mode = code & 0xe0;
  if (mode === Mode.ABS) return `r0 = *(${memoryType(code)} *)skb[${imm}]`;
  if (mode === Mode.IND) return `r0 = *(${memoryType(code)} *)skb[r${src} + ${imm}]`;
  return `unknown ${hex(code)}`;
}

const ALU_SIGNS: Record<number, string> = {
  [Alu.add]: "+=",
  [Alu.sub]: "-=",
  [Alu.mul]: "*=",
  [Alu.div]: "/=",
  [Alu.or]: "|=",
  [Alu.and]: "&=",
  [Alu.lsh]: "<<=",
  [Alu.rsh]: ">>=",
  [Alu.mod]: "%=",
  [Alu.xor]: "^=",
  [Alu.mov]: "=",
  [Alu.arsh]: "s>>=",
};

function aluText({ code, dst, src, offset, imm }: Instruction, letter: string): string {
  const alu = code & 0xf0;
  if (alu === Alu.neg) return `${letter}${dst} = -${letter}${dst}`;
  if (alu === Alu.end) {
    const name = (code & 0x07) === Class.ALU64 ? "bswap" : (code & Source.REG) !== 0 ? "be" : "le";
    return `r${dst} = ${name}${imm} r${dst}`;
  }
  if (alu === Alu.mov && (code & Source.REG) !== 0 && offset === ADDRESS_CAST) {
    return `r${dst} = addr_space_cast(r${src}, ${imm >>> 16}, ${imm & 0xffff})`;
  }
  // Only the kernel writes these, for memory of each CPU (BPF_ADDR_PERCPU in include/linux/filter.h).
  if (alu === Alu.mov && (code & Source.REG) !== 0 && offset === -1) {
    return `r${dst} = &(void __percpu *)(r${src})`;
  }
  const operand = (code & Source.REG) === 0 ? String(imm) : `${letter}${src}`;
  // The offset says how many bits have a sign, or that a division has one.
  const cast = alu === Alu.mov && offset !== 0 ? `(s${offset})` : "";
  const sign = (alu === Alu.div || alu === Alu.mod) && offset === 1 ? "s" : "";
  return `${letter}${dst} ${sign}${ALU_SIGNS[alu] ?? "?"} ${cast}${operand}`;
}

const JUMP_SIGNS: Record<number, string> = {
  [Jump.eq]: "==",
  [Jump.gt]: ">",
  [Jump.ge]: ">=",
  [Jump.set]: "&",
  [Jump.ne]: "!=",
  [Jump.sgt]: "s>",
  [Jump.sge]: "s>=",
  [Jump.lt]: "<",
  [Jump.le]: "<=",
  [Jump.slt]: "s<",
  [Jump.sle]: "s<=",
};

function jumpText(
  { code, dst, src, offset, imm }: Instruction,
  letter: string,
  symbol: string | undefined,
): string {
  const jump = code & 0xf0;
  if (jump === Jump.exit) return "exit";
  if (jump === Jump.ja) {
    return letter === "w" ? `gotol pc${signed(imm)}` : `goto pc${signed(offset)}`;
  }
  if (jump === Jump.cond) return `may_goto pc${signed(offset)}`;
  if (jump === Jump.call) {
    if (src === CallKind.HELPER) return `call ${helperName(imm)}#${imm}`;
    return src === CallKind.KFUNC ? `call ${symbol ?? "kernel-function"}` : `call pc${signed(imm)}`;
  }
  const operand = (code & Source.REG) === 0 ? `0x${(imm >>> 0).toString(16)}` : `${letter}${src}`;
  return `if ${letter}${dst} ${JUMP_SIGNS[jump] ?? "?"} ${operand} goto pc${signed(offset)}`;
}

const ATOMIC_NAMES: Record<number, string> = {
  [Atomic.add]: "add",
  [Atomic.or]: "or",
  [Atomic.and]: "and",
  [Atomic.xor]: "xor",
};

function atomicText({ code, dst, src, offset, imm }: Instruction): string {
  const type = memoryType(code);
  const at = (base: number): string => `(${type} *)(r${base} ${signed(offset)})`;
  const bits = type === "u64" ? "64" : "";
  switch (imm) {
    case Atomic.loadAcquire:
      return `r${dst} = load_acquire(${at(src)})`;
    case Atomic.storeRelease:
      return `store_release(${at(dst)}, r${src})`;
    case Atomic.exchange:
      return `r${src} = atomic${bits}_xchg(${at(dst)}, r${src})`;
    case Atomic.compareExchange:
      return `r0 = atomic${bits}_cmpxchg(${at(dst)}, r0, r${src})`;
  }
  const name = ATOMIC_NAMES[imm & ~Atomic.FETCH];
  if (name === undefined) return `unknown atomic ${hex(imm)} *${at(dst)}, r${src}`;
  if ((imm & Atomic.FETCH) !== 0)
    return `r${src} = atomic${bits}_fetch_${name}(${at(dst)}, r${src})`;
  return `lock *${at(dst)} ${ALU_SIGNS[imm] ?? "?"} r${src}`;
}

const memoryType = (code: number): string => {
  const type = { 0x10: "u8", 0x08: "u16", 0x00: "u32", 0x18: "u64" }[code & 0x18] ?? "?";
  return (code & 0xe0) === Mode.MEMSX ? type.replace("u", "s") : type;
};
const hex = (code: number): string => code.toString(16).padStart(2, "0");
const signed = (offset: number): string => `${offset < 0 ? "-" : "+"}${Math.abs(offset)}`;
