/** Prints instructions in the style of `bpftool prog dump xlated`, with labels' targets as distances. */
import { helperName } from "./helpers.ts";
import {
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
  const instructions = decodeInstructions(image.instructions);
  const out: string[] = [];
  for (let index = 0; index < instructions.length; index += 1) {
    const instruction = instructions[index] as Instruction;
    const source = sources.get(index);
    if (source !== undefined) out.push(source);
    const next = instructions[index + 1];
    const text = isWide(instruction)
      ? wideText(instruction, next?.imm ?? 0, maps.get(index))
      : instructionText(instruction);
    out.push(`${String(index).padStart(4)}: (${hex(instruction.code)}) ${text}`);
    if (isWide(instruction)) index += 1;
  }
  return out.join("\n");
}

const isWide = ({ code }: Instruction): boolean => code === (Class.LD | Mode.IMM | 0x18);

function wideText({ dst, src, imm }: Instruction, high: number, map: string | undefined): string {
  switch (src) {
    case Pseudo.MAP_FD:
      return `r${dst} = map[${map ?? `fd:${imm}`}]`;
    case Pseudo.MAP_VALUE:
      return `r${dst} = map[${map ?? `fd:${imm}`}][0]+${high}`;
    default: {
      const value = (BigInt(high >>> 0) << 32n) | BigInt(imm >>> 0);
      return `r${dst} = 0x${value.toString(16)}`;
    }
  }
}

function instructionText(instruction: Instruction): string {
  const { code, dst, src, offset, imm } = instruction;
  switch (code & 0x07) {
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
      return jumpText(instruction, "r");
    case Class.JMP32:
      return jumpText(instruction, "w");
    default:
      return `unknown ${hex(code)}`;
  }
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

function aluText({ code, dst, src, imm }: Instruction, letter: string): string {
  const alu = code & 0xf0;
  if (alu === Alu.neg) return `${letter}${dst} = -${letter}${dst}`;
  if (alu === Alu.end) {
    const name = (code & 0x07) === Class.ALU64 ? "bswap" : (code & Source.REG) !== 0 ? "be" : "le";
    return `r${dst} = ${name}${imm} r${dst}`;
  }
  const operand = (code & Source.REG) === 0 ? String(imm) : `${letter}${src}`;
  return `${letter}${dst} ${ALU_SIGNS[alu] ?? "?"} ${operand}`;
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

function jumpText({ code, dst, src, offset, imm }: Instruction, letter: string): string {
  const jump = code & 0xf0;
  if (jump === Jump.exit) return "exit";
  if (jump === Jump.ja) return `goto pc${signed(offset, "")}`;
  if (jump === Jump.call) {
    if (src === CallKind.HELPER) return `call ${helperName(imm)}#${imm}`;
    return src === CallKind.KFUNC ? `call kfunc#${imm}` : `call pc${signed(imm, "")}`;
  }
  const operand = (code & Source.REG) === 0 ? `0x${(imm >>> 0).toString(16)}` : `${letter}${src}`;
  return `if ${letter}${dst} ${JUMP_SIGNS[jump] ?? "?"} ${operand} goto pc${signed(offset, "")}`;
}

function atomicText({ code, dst, src, offset, imm }: Instruction): string {
  const place = `*(${memoryType(code)} *)(r${dst} ${signed(offset)})`;
  const sign = ALU_SIGNS[imm & ~Atomic.FETCH];
  return sign === undefined
    ? `atomic ${hex(imm)} ${place}, r${src}`
    : `lock ${place} ${sign} r${src}`;
}

const memoryType = (code: number): string => {
  const type = { 0x10: "u8", 0x08: "u16", 0x00: "u32", 0x18: "u64" }[code & 0x18] ?? "?";
  return (code & 0xe0) === Mode.MEMSX ? type.replace("u", "s") : type;
};
const hex = (code: number): string => code.toString(16).padStart(2, "0");
const signed = (offset: number, space = ""): string =>
  `${offset < 0 ? "-" : `+`}${space}${Math.abs(offset)}`;
