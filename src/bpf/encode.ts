/** Turns allocated code into instructions: two-address arithmetic, argument moves, jump distances. */
import type { MapRelocation } from "./image.ts";
import type { Allocation } from "./allocate.ts";
import {
  type Base,
  FRAME_BASE,
  type Label,
  type Operand,
  type Operation,
  type Width,
} from "./ir.ts";
import {
  Alu,
  Atomic,
  CallKind,
  Class,
  FRAME,
  type Instruction,
  Jump,
  Mode,
  Pseudo,
  SizeBits,
  Source,
} from "./isa.ts";
import type { SourceLocation } from "./source.ts";

export interface EncodedFunction {
  readonly instructions: readonly Instruction[];
  readonly maps: readonly MapRelocation[];
  /** Source of the instruction at each index where it changes. */
  readonly lines: readonly { readonly instruction: number; readonly source: SourceLocation }[];
}

const COMMUTATIVE = new Set(["add", "mul", "or", "and", "xor"]);

/** @throws {RangeError} when a jump is further than 32 767 instructions */
export function encode(allocation: Allocation): EncodedFunction {
  const encoder = new Encoder(allocation);
  return encoder.run();
}

class Encoder {
  readonly #allocation: Allocation;
  readonly #out: { -readonly [K in keyof Instruction]: Instruction[K] }[] = [];
  readonly #maps: MapRelocation[] = [];
  readonly #lines: { instruction: number; source: SourceLocation }[] = [];
  readonly #labels = new Map<Label, number>();
  readonly #jumps: { at: number; target: Label }[] = [];

  constructor(allocation: Allocation) {
    this.#allocation = allocation;
  }

  run(): EncodedFunction {
    const { code } = this.#allocation;
    this.#parameters();
    for (const { operation, source } of code) {
      const before = this.#out.length;
      this.#encode(operation);
      const last = this.#lines.at(-1)?.source;
      const moved = last?.line !== source?.line || last?.file !== source?.file;
      if (source !== null && this.#out.length > before && (moved || this.#lines.length === 0)) {
        this.#lines.push({ instruction: this.#lines.length === 0 ? 0 : before, source });
      }
    }
    for (const { at, target } of this.#jumps) {
      const to = this.#labels.get(target);
      if (to === undefined) throw new Error(`Label ${target} is jumped to but placed nowhere`);
      const distance = to - at - 1;
      if (distance > 0x7fff || distance < -0x8000) {
        throw new RangeError(`Cannot jump ${distance} instructions: 32767 is the furthest`);
      }
      const jump = this.#out[at];
      if (jump !== undefined) jump.offset = distance;
    }
    return { instructions: this.#out, maps: this.#maps, lines: this.#lines };
  }

  /** All parameters arrive at once in r1 to r5, so they move as if at once. */
  #parameters(): void {
    const moves = this.#allocation.code.flatMap(({ operation }) =>
      operation.op === "parameter"
        ? [{ to: this.#physical(operation.to), from: operation.index + 1 }]
        : [],
    );
    this.#parallelMove(moves);
  }

  #encode(operation: Operation): void {
    switch (operation.op) {
      case "parameter":
        break;
      case "move":
        this.#move(this.#physical(operation.to), operation.from, operation.width);
        break;
      case "wide":
        this.#wide(operation);
        break;
      case "frame": {
        const to = this.#physical(operation.to);
        this.#push(Class.ALU64 | Alu.mov | Source.REG, to, FRAME, 0, 0);
        this.#push(Class.ALU64 | Alu.add | Source.IMM, to, 0, 0, operation.offset);
        break;
      }
      case "alu":
        this.#alu(operation);
        break;
      case "negate": {
        const to = this.#physical(operation.to);
        this.#move(to, { register: operation.from }, 8);
        this.#push(classOf(operation.width) | Alu.neg, to, 0, 0, 0);
        break;
      }
      case "swap": {
        const to = this.#physical(operation.to);
        this.#move(to, { register: operation.from }, 8);
        // BPF_END | BPF_TO_BE: a byte swap on the little-endian targets.
        this.#push(Class.ALU | Alu.end | Source.REG, to, 0, 0, operation.bits);
        break;
      }
      case "load":
        this.#push(
          Class.LDX | Mode.MEM | SizeBits[operation.size],
          this.#physical(operation.to),
          this.#base(operation.base),
          operation.offset,
          0,
        );
        break;
      case "store": {
        const { from, offset, size } = operation;
        const base = this.#base(operation.base);
        if ("imm" in from) {
          this.#push(Class.ST | Mode.MEM | SizeBits[size], base, 0, offset, from.imm);
        } else {
          const value = this.#physical(from.register);
          this.#push(Class.STX | Mode.MEM | SizeBits[size], base, value, offset, 0);
        }
        break;
      }
      case "atomicAdd":
        this.#push(
          Class.STX | Mode.ATOMIC | SizeBits[operation.size],
          this.#base(operation.base),
          this.#physical(operation.from),
          operation.offset,
          Atomic.add,
        );
        break;
      case "call":
        this.#call(operation);
        break;
      case "label":
        this.#labels.set(operation.label, this.#out.length);
        break;
      case "goto":
        this.#jumps.push({ at: this.#out.length, target: operation.target });
        this.#push(Class.JMP | Jump.ja, 0, 0, 0, 0);
        break;
      case "jump": {
        const { test, left, right, width, target } = operation;
        const code = (width === 8 ? Class.JMP : Class.JMP32) | Jump[test];
        this.#jumps.push({ at: this.#out.length, target });
        this.#withOperand(code, this.#physical(left), right);
        break;
      }
      case "exit":
        this.#move(0, operation.from, 8);
        this.#push(Class.JMP | Jump.exit, 0, 0, 0, 0);
        break;
    }
  }

  #alu(operation: Extract<Operation, { op: "alu" }>): void {
    const { alu, width } = operation;
    const to = this.#physical(operation.to);
    let left = this.#physical(operation.left);
    let right = operation.right;
    if ("register" in right && this.#physical(right.register) === to && left !== to) {
      if (!COMMUTATIVE.has(alu))
        throw new Error(`The right side of "${alu}" sits where its result goes`);
      left = to;
      right = { register: operation.left };
    }
    if (left !== to) {
      this.#push(classOf(width) | Alu.mov | Source.REG, to, left, 0, 0);
    }
    this.#withOperand(classOf(width) | Alu[alu], to, right);
  }

  #move(to: number, from: Operand, width: Width): void {
    if ("imm" in from) {
      this.#push(classOf(width) | Alu.mov | Source.IMM, to, 0, 0, from.imm);
      return;
    }
    const source = this.#physical(from.register);
    if (source === to && width === 8) return;
    this.#push(classOf(width) | Alu.mov | Source.REG, to, source, 0, 0);
  }

  #wide({ to, value }: Extract<Operation, { op: "wide" }>): void {
    const code = Class.LD | Mode.IMM | SizeBits[8];
    const register = this.#physical(to);
    let low = 0;
    let high = 0;
    let pseudo: number = Pseudo.NONE;
    if (value.kind === "imm") {
      low = Number(BigInt.asIntN(32, value.value));
      high = Number(BigInt.asIntN(32, value.value >> 32n));
    } else {
      this.#maps.push({ instruction: this.#out.length, map: value.map });
      pseudo = value.kind === "mapFd" ? Pseudo.MAP_FD : Pseudo.MAP_VALUE;
      if (value.kind === "mapValue") high = value.offset;
    }
    this.#push(code, register, pseudo, 0, low);
    this.#push(0, 0, 0, 0, high);
  }

  #call({ to, target, args }: Extract<Operation, { op: "call" }>): void {
    this.#parallelMove(
      args.flatMap((arg, index) =>
        "register" in arg ? [{ to: index + 1, from: this.#physical(arg.register) }] : [],
      ),
    );
    args.forEach((arg, index) => {
      if ("imm" in arg) this.#move(index + 1, arg, 8);
    });
    if (target.kind === "helper") {
      this.#push(Class.JMP | Jump.call, 0, CallKind.HELPER, 0, target.id);
    } else {
      this.#push(Class.JMP | Jump.call, 0, CallKind.KFUNC, 0, target.btfId);
    }
    const result = this.#allocation.physical[to] ?? -1;
    if (result > 0) this.#push(Class.ALU64 | Alu.mov | Source.REG, result, 0, 0, 0);
  }

  /** Moves as if at once: a register is overwritten only after all who want it have it; r0 breaks cycles. */
  #parallelMove(moves: readonly { readonly to: number; readonly from: number }[]): void {
    const mov = (to: number, from: number): void =>
      this.#push(Class.ALU64 | Alu.mov | Source.REG, to, from, 0, 0);
    let pending = moves.filter(({ to, from }) => to !== from);
    while (pending.length > 0) {
      const ready = pending.find(
        (move) => !pending.some((other) => other !== move && other.from === move.to),
      );
      if (ready !== undefined) {
        mov(ready.to, ready.from);
        pending = pending.filter((move) => move !== ready);
        continue;
      }
      const [first] = pending;
      if (first === undefined) break;
      mov(0, first.from);
      pending = pending.map((move) => (move.from === first.from ? { to: move.to, from: 0 } : move));
    }
  }

  #withOperand(code: number, register: number, operand: Operand): void {
    if ("imm" in operand) this.#push(code | Source.IMM, register, 0, 0, operand.imm);
    else this.#push(code | Source.REG, register, this.#physical(operand.register), 0, 0);
  }

  #base(base: Base): number {
    return base === FRAME_BASE ? FRAME : this.#physical(base);
  }

  #physical(register: number): number {
    const physical = this.#allocation.physical[register] ?? -1;
    if (physical < 0) throw new Error(`Virtual register ${register} has no physical one`);
    return physical;
  }

  #push(code: number, dst: number, src: number, offset: number, imm: number): void {
    this.#out.push({ code, dst, src, offset, imm });
  }
}

const classOf = (width: Width): number => (width === 8 ? Class.ALU64 : Class.ALU);
