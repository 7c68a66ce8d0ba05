/**
 * Runs an XDP program without a kernel, an instruction at a time, and counts them: how many a packet
 * costs, on any machine. Only what straight-line programs of one function use is here: arithmetic, jumps, memory,
 * map values and helpers that tests give. What is not here is an error.
 */
import type { MapSpec, ProgramImage } from "./image.ts";
import {
  Alu,
  CallKind,
  Class,
  decodeInstructions,
  FRAME,
  type Instruction,
  Jump,
  Mode,
  Pseudo,
  SizeBits,
  Source,
  STACK_SIZE,
} from "./isa.ts";

export interface Interpretation {
  readonly verdict: number;
  /** A wide immediate is one, as for the processor. */
  readonly executed: number;
}

export interface Surroundings {
  /** Changed in place. */
  readonly frame: Uint8Array;
  /** What maps that are addressed directly hold. */
  readonly values: ReadonlyMap<MapSpec, Uint8Array>;
  /** By id: what a helper gives. */
  readonly helpers: ReadonlyMap<number, () => bigint>;
}

interface Region {
  readonly base: number;
  readonly bytes: DataView;
}

/** Far more than any packet takes: programs here have no loops. */
const EXECUTED_MAX = 100_000;
/** Between two regions, so that what runs out of one meets nothing. */
const GAP = 0x1000;

/** @throws {RangeError} for an access to nothing; @throws {TypeError} for an instruction that is not here */
export function interpret(image: ProgramImage, surroundings: Surroundings): Interpretation {
  return new Interpreter(image, surroundings).run();
}

class Interpreter {
  readonly #code: readonly Instruction[];
  readonly #relocations: ReadonlyMap<number, MapSpec>;
  readonly #helpers: Surroundings["helpers"];
  readonly #regions: Region[] = [];
  readonly #bases = new Map<MapSpec, number>();
  readonly #registers = new BigUint64Array(FRAME + 1);
  #end = GAP;

  constructor(image: ProgramImage, { frame, values, helpers }: Surroundings) {
    this.#code = decodeInstructions(image.instructions);
    this.#relocations = new Map(image.maps.map(({ instruction, map }) => [instruction, map]));
    this.#helpers = helpers;
    const data = this.#place(frame);
    // struct xdp_md: data, data_end and four more.
    const context = new Uint8Array(24);
    new DataView(context.buffer).setUint32(0, data, true);
    new DataView(context.buffer).setUint32(4, data + frame.length, true);
    this.#registers[1] = BigInt(this.#place(context));
    this.#registers[FRAME] = BigInt(this.#place(new Uint8Array(STACK_SIZE)) + STACK_SIZE);
    for (const [map, value] of values) this.#bases.set(map, this.#place(value));
  }

  run(): Interpretation {
    let at = 0;
    for (let executed = 1; executed <= EXECUTED_MAX; executed += 1) {
      const instruction = this.#code[at];
      if (instruction === undefined) throw new RangeError(`There is no instruction ${at}`);
      const next = this.#step(instruction, at);
      if (next === null) return { verdict: Number(this.#get(0) & 0xffffffffn), executed };
      at = next;
    }
    throw new RangeError(`The program does not end within ${EXECUTED_MAX} instructions`);
  }

  /** Executes one; returns the index of the next, or `null` at the end. */
  #step(instruction: Instruction, at: number): number | null {
    const { code, dst, src, offset, imm } = instruction;
    switch (code & 0x07) {
      case Class.LD:
        this.#set(dst, this.#wide(instruction, at));
        return at + 2;
      case Class.LDX:
        this.#requireMode(instruction);
        this.#set(dst, this.#load(this.#address(src, offset), sizeOf(code)));
        return at + 1;
      case Class.ST:
      case Class.STX: {
        this.#requireMode(instruction);
        const value = (code & 0x07) === Class.ST ? BigInt(imm) : this.#get(src);
        this.#store(this.#address(dst, offset), sizeOf(code), value);
        return at + 1;
      }
      case Class.ALU:
      case Class.ALU64:
        this.#set(dst, this.#compute(instruction));
        return at + 1;
      default:
        return this.#jump(instruction, at);
    }
  }

  #wide({ code, src, imm }: Instruction, at: number): bigint {
    if (code !== (Class.LD | Mode.IMM | SizeBits[8])) throw unknown(at, code);
    const high = this.#code[at + 1]?.imm ?? 0;
    if (src === Pseudo.NONE) return (BigInt(high >>> 0) << 32n) | BigInt(imm >>> 0);
    const map = this.#relocations.get(at);
    const base = map && this.#bases.get(map);
    if (src !== Pseudo.MAP_VALUE || base === undefined) {
      throw new TypeError(`Cannot run instruction ${at}: it names what is not given`);
    }
    return BigInt(base + high);
  }

  #compute({ code, dst, src, offset, imm }: Instruction): bigint {
    const operation = code & 0xf0;
    const isWide = (code & 0x07) === Class.ALU64;
    const bits = isWide ? 64 : 32;
    const a = BigInt.asUintN(bits, this.#get(dst));
    if (operation === Alu.end) return swapped(this.#get(dst), imm, (code & Source.REG) !== 0);
    const given = (code & Source.REG) === 0 ? BigInt(imm) : this.#get(src);
    const b = BigInt.asUintN(bits, given);
    const compute = offset === 0 ? arithmetic[operation] : undefined;
    if (compute === undefined) throw new TypeError(`Cannot compute by code 0x${code.toString(16)}`);
    return BigInt.asUintN(bits, compute(a, b, bits));
  }

  #jump({ code, dst, src, offset, imm }: Instruction, at: number): number | null {
    const operation = code & 0xf0;
    if ((code & 0x07) === Class.JMP) {
      if (operation === Jump.exit) return null;
      if (operation === Jump.ja) return at + 1 + offset;
      if (operation === Jump.call) {
        const helper = src === CallKind.HELPER ? this.#helpers.get(imm) : undefined;
        if (helper === undefined)
          throw new TypeError(`Cannot call ${imm} at ${at}: it is not given`);
        this.#set(0, helper());
        return at + 1;
      }
    }
    const bits = (code & 0x07) === Class.JMP ? 64 : 32;
    const a = BigInt.asUintN(bits, this.#get(dst));
    const b = BigInt.asUintN(bits, (code & Source.REG) === 0 ? BigInt(imm) : this.#get(src));
    const holds = comparisons[operation];
    if (holds === undefined) throw unknown(at, code);
    return at + 1 + (holds(a, b, bits) ? offset : 0);
  }

  #requireMode({ code }: Instruction): void {
    if ((code & 0xe0) !== Mode.MEM) {
      throw new TypeError(`Cannot access memory by code 0x${code.toString(16)}`);
    }
  }

  #place(bytes: Uint8Array): number {
    const base = this.#end;
    this.#regions.push({
      base,
      bytes: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    });
    this.#end += Math.ceil(bytes.length / GAP) * GAP + GAP;
    return base;
  }

  #get = (register: number): bigint => this.#registers[register] ?? 0n;

  #set(register: number, value: bigint): void {
    this.#registers[register] = value;
  }

  #address = (register: number, offset: number): number =>
    Number(BigInt.asUintN(64, this.#get(register) + BigInt(offset)));

  #load(address: number, size: number): bigint {
    const [view, at] = this.#memory(address, size);
    if (size === 8) return view.getBigUint64(at, true);
    if (size === 4) return BigInt(view.getUint32(at, true));
    return BigInt(size === 2 ? view.getUint16(at, true) : view.getUint8(at));
  }

  #store(address: number, size: number, value: bigint): void {
    const [view, at] = this.#memory(address, size);
    const low = Number(value & 0xffffffffn);
    if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
    else if (size === 4) view.setUint32(at, low, true);
    else if (size === 2) view.setUint16(at, low & 0xffff, true);
    else view.setUint8(at, low & 0xff);
  }

  #memory(address: number, size: number): readonly [DataView, number] {
    const region = this.#regions.find(
      ({ base, bytes }) => address >= base && address + size <= base + bytes.byteLength,
    );
    if (region === undefined) {
      throw new RangeError(`Nothing lies at address 0x${address.toString(16)}, ${size} bytes`);
    }
    return [region.bytes, address - region.base];
  }
}

type Binary<Result> = (a: bigint, b: bigint, bits: number) => Result;

/** RFC 9669 §4.1: division by zero gives 0, a modulo by zero leaves the dividend. */
const arithmetic: Readonly<Record<number, Binary<bigint>>> = {
  [Alu.add]: (a, b) => a + b,
  [Alu.sub]: (a, b) => a - b,
  [Alu.mul]: (a, b) => a * b,
  [Alu.div]: (a, b) => (b === 0n ? 0n : a / b),
  [Alu.mod]: (a, b) => (b === 0n ? a : a % b),
  [Alu.or]: (a, b) => a | b,
  [Alu.and]: (a, b) => a & b,
  [Alu.xor]: (a, b) => a ^ b,
  [Alu.lsh]: (a, b, bits) => a << (b & BigInt(bits - 1)),
  [Alu.rsh]: (a, b, bits) => a >> (b & BigInt(bits - 1)),
  [Alu.arsh]: (a, b, bits) => BigInt.asIntN(bits, a) >> (b & BigInt(bits - 1)),
  [Alu.neg]: (a) => -a,
  [Alu.mov]: (_, b) => b,
};

const signed =
  (holds: (a: bigint, b: bigint) => boolean): Binary<boolean> =>
  (a, b, bits) =>
    holds(BigInt.asIntN(bits, a), BigInt.asIntN(bits, b));

const comparisons: Readonly<Record<number, Binary<boolean>>> = {
  [Jump.eq]: (a, b) => a === b,
  [Jump.ne]: (a, b) => a !== b,
  [Jump.gt]: (a, b) => a > b,
  [Jump.ge]: (a, b) => a >= b,
  [Jump.lt]: (a, b) => a < b,
  [Jump.le]: (a, b) => a <= b,
  [Jump.set]: (a, b) => (a & b) !== 0n,
  [Jump.sgt]: signed((a, b) => a > b),
  [Jump.sge]: signed((a, b) => a >= b),
  [Jump.slt]: signed((a, b) => a < b),
  [Jump.sle]: signed((a, b) => a <= b),
};

/** The lowest `bits` of a register, their bytes in reverse unless the order is the machine's own. */
function swapped(value: bigint, bits: number, toBigEndian: boolean): bigint {
  const low = BigInt.asUintN(bits, value);
  if (!toBigEndian) return low;
  let out = 0n;
  for (let at = 0n; at < bits; at += 8n) out = (out << 8n) | ((low >> at) & 0xffn);
  return out;
}

const sizeOf = (code: number): number =>
  ({ [SizeBits[1]]: 1, [SizeBits[2]]: 2, [SizeBits[4]]: 4, [SizeBits[8]]: 8 })[code & 0x18] ?? 0;

const unknown = (at: number, code: number): TypeError =>
  new TypeError(`Cannot run instruction ${at}, code 0x${code.toString(16)}`);
