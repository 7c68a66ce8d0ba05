/** Turns allocated code into instructions: two-address arithmetic, argument moves, jump distances. */
import type { Allocation } from "./allocate.ts";
import type { KernelSymbol, MapRelocation } from "./image.ts";
import {
  type Base,
  FRAME_BASE,
  type FunctionIr,
  type Label,
  type Operand,
  type Operation,
  type WideValue,
  type Width,
} from "./ir.ts";
import {
  ADDRESS_CAST,
  AddressCast,
  Alu,
  Atomic,
  CallKind,
  Class,
  CONTEXT,
  FRAME,
  type Instruction,
  Jump,
  Mode,
  Pseudo,
  SizeBits,
  Source,
} from "./isa.ts";
import type { SourceLocation } from "./source.ts";
import type { Target } from "./target.ts";

/** A place that names another function of the program: `program.ts` writes how far away it is. */
export interface FunctionReference {
  readonly instruction: number;
  readonly callee: FunctionIr;
}

export interface EncodedFunction {
  readonly instructions: readonly Instruction[];
  readonly maps: readonly MapRelocation[];
  readonly symbols: readonly KernelSymbol[];
  readonly functions: readonly FunctionReference[];
  /** Source of the instruction at each index where it changes. */
  readonly lines: readonly { readonly instruction: number; readonly source: SourceLocation }[];
}

const COMMUTATIVE = new Set(["add", "mul", "or", "and", "xor"]);

/**
 * Encodes one function. With `cpuV4` jumps reach any distance.
 * @throws {RangeError} when a jump is further than 32 767 instructions, without `cpuV4`
 */
export function encode(allocation: Allocation, target: Pick<Target, "cpuV4">): EncodedFunction {
  // Jumps found too far become long ones, which may put others out of reach: each round adds some.
  for (const long = new Set<number>(); ; ) {
    const encoder = new Encoder(allocation, target, long);
    const encoded = encoder.run();
    if (encoded !== null) return encoded;
  }
}

class Encoder {
  readonly #allocation: Allocation;
  readonly #target: Pick<Target, "cpuV4">;
  /** Indexes in the allocated code of jumps that need 32 bits for their distance. */
  readonly #long: Set<number>;
  readonly #out: { -readonly [K in keyof Instruction]: Instruction[K] }[] = [];
  readonly #maps: MapRelocation[] = [];
  readonly #symbols: KernelSymbol[] = [];
  readonly #functions: FunctionReference[] = [];
  readonly #lines: { instruction: number; source: SourceLocation }[] = [];
  readonly #labels = new Map<Label, number>();
  readonly #jumps: { at: number; target: Label; code: number }[] = [];
  #index = 0;

  constructor(allocation: Allocation, target: Pick<Target, "cpuV4">, long: Set<number>) {
    this.#allocation = allocation;
    this.#target = target;
    this.#long = long;
  }

  /** Null when a jump turned out to be too far: it is in `long` now. */
  run(): EncodedFunction | null {
    const { code } = this.#allocation;
    this.#nameArenas();
    this.#parameters();
    for (const [index, { operation, source }] of code.entries()) {
      const before = this.#out.length;
      this.#index = index;
      this.#encode(operation);
      const last = this.#lines.at(-1)?.source;
      const moved = last?.line !== source?.line || last?.file !== source?.file;
      if (source !== null && this.#out.length > before && (moved || this.#lines.length === 0)) {
        this.#lines.push({ instruction: this.#lines.length === 0 ? 0 : before, source });
      }
    }
    if (!this.#land()) return null;
    return {
      instructions: this.#out,
      maps: this.#maps,
      symbols: this.#symbols,
      functions: this.#functions,
      lines: this.#lines,
    };
  }

  /** Writes the distances of jumps; false when one does not fit. */
  #land(): boolean {
    let landed = true;
    for (const { at, target, code } of this.#jumps) {
      const to = this.#labels.get(target);
      if (to === undefined) throw new Error(`Label ${target} is jumped to but placed nowhere`);
      const jump = this.#out[at];
      if (jump === undefined) continue;
      const distance = to - at - 1;
      if (this.#long.has(code)) {
        jump.imm = distance;
      } else if (distance <= 0x7fff && distance >= -0x8000) {
        jump.offset = distance;
      } else if (this.#target.cpuV4) {
        this.#long.add(code);
        landed = false;
      } else {
        throw new RangeError(`Cannot jump ${distance} instructions: 32767 is the furthest`);
      }
    }
    return landed;
  }

  /** To the verifier addresses are of the arena the program names: one that is only cast into is named here. */
  #nameArenas(): void {
    const operations = this.#allocation.code.map(({ operation }) => operation);
    const cast = new Set(
      operations.flatMap((cast) => (cast.op === "castAddress" ? [cast.map] : [])),
    );
    for (const operation of operations) {
      if (operation.op === "wide" && "map" in operation.value) cast.delete(operation.value.map);
    }
    // r0 holds nothing yet.
    for (const map of cast) this.#wideInto(0, { kind: "mapFd", map });
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
        this.#wideInto(this.#physical(operation.to), operation.value);
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
        // BPF_END | BPF_TO_BE: a byte swap on the little-endian targets; v4 has one by that name.
        const code = this.#target.cpuV4 ? Class.ALU64 | Alu.end : Class.ALU | Alu.end | Source.REG;
        this.#push(code, to, 0, 0, operation.bits);
        break;
      }
      case "extend": {
        const { bits, width } = operation;
        const [to, from] = [this.#physical(operation.to), this.#physical(operation.from)];
        this.#push(classOf(width) | Alu.mov | Source.REG, to, from, bits, 0);
        break;
      }
      case "castAddress": {
        const [to, from] = [this.#physical(operation.to), this.#physical(operation.from)];
        const imm = AddressCast[operation.side];
        this.#push(Class.ALU64 | Alu.mov | Source.REG, to, from, ADDRESS_CAST, imm);
        break;
      }
      case "packetLoad": {
        const { to, context, index, offset, size } = operation;
        this.#move(CONTEXT, { register: context }, 8);
        const mode = index === null ? Mode.ABS : Mode.IND;
        const from = index === null ? 0 : this.#physical(index);
        this.#push(Class.LD | mode | SizeBits[size], 0, from, 0, offset);
        this.#result(to);
        break;
      }
      case "load": {
        const { size, offset, acquire, signed } = operation;
        const to = this.#physical(operation.to);
        const base = this.#base(operation.base);
        if (acquire === true) {
          this.#push(
            Class.STX | Mode.ATOMIC | SizeBits[size],
            to,
            base,
            offset,
            Atomic.loadAcquire,
          );
        } else {
          const mode = signed === true ? Mode.MEMSX : Mode.MEM;
          this.#push(Class.LDX | mode | SizeBits[size], to, base, offset, 0);
        }
        break;
      }
      case "store": {
        const { from, offset, size } = operation;
        const base = this.#base(operation.base);
        if (operation.release === true && "register" in from) {
          const value = this.#physical(from.register);
          this.#push(
            Class.STX | Mode.ATOMIC | SizeBits[size],
            base,
            value,
            offset,
            Atomic.storeRelease,
          );
        } else if ("imm" in from) {
          this.#push(Class.ST | Mode.MEM | SizeBits[size], base, 0, offset, from.imm);
        } else {
          const value = this.#physical(from.register);
          this.#push(Class.STX | Mode.MEM | SizeBits[size], base, value, offset, 0);
        }
        break;
      }
      case "atomic": {
        const { to, atomic, base, offset, size } = operation;
        const code = Class.STX | Mode.ATOMIC | SizeBits[size];
        let value = this.#physical(operation.from);
        if (to !== null) {
          // What was there comes back in the register of what went in.
          this.#move(this.#physical(to), { register: operation.from }, 8);
          value = this.#physical(to);
        }
        const fetch = to === null ? 0 : Atomic.FETCH;
        this.#push(code, this.#base(base), value, offset, Atomic[atomic] | fetch);
        break;
      }
      case "compareExchange": {
        const { to, base, offset, expected, from, size } = operation;
        const code = Class.STX | Mode.ATOMIC | SizeBits[size];
        this.#move(0, { register: expected }, 8);
        this.#push(code, this.#base(base), this.#physical(from), offset, Atomic.compareExchange);
        this.#result(to);
        break;
      }
      case "call":
        this.#call(operation);
        break;
      case "label":
        this.#labels.set(operation.label, this.#out.length);
        break;
      case "goto":
        this.#jumps.push({ at: this.#out.length, target: operation.target, code: this.#index });
        this.#push((this.#isLong() ? Class.JMP32 : Class.JMP) | Jump.ja, 0, 0, 0, 0);
        break;
      case "jump": {
        const { test, left, right, width } = operation;
        const code = (width === 8 ? Class.JMP : Class.JMP32) | Jump[test];
        this.#jump(operation.target, () => this.#withOperand(code, this.#physical(left), right));
        break;
      }
      case "mayGoto":
        this.#jump(operation.target, () => this.#push(Class.JMP | Jump.cond, 0, 0, 0, 0));
        break;
      case "spill":
      case "reload":
        throw new Error(`Slot ${operation.slot} has no place in the frame`);
      case "exit":
        this.#move(0, operation.from, 8);
        this.#push(Class.JMP | Jump.exit, 0, 0, 0, 0);
        break;
    }
  }

  /** A jump that `push`es; a far one jumps to a far goto, over which the other way leads. */
  #jump(target: Label, push: () => void): void {
    const jump = this.#out.length;
    push();
    if (this.#isLong()) {
      const taken = this.#out[jump];
      if (taken !== undefined) taken.offset = 1;
      this.#push(Class.JMP | Jump.ja, 0, 0, 1, 0);
      this.#jumps.push({ at: this.#out.length, target, code: this.#index });
      this.#push(Class.JMP32 | Jump.ja, 0, 0, 0, 0);
    } else {
      this.#jumps.push({ at: jump, target, code: this.#index });
    }
  }

  #isLong(): boolean {
    return this.#long.has(this.#index);
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
    const signed = alu === "sdiv" || alu === "smod";
    const code = classOf(width) | Alu[alu === "sdiv" ? "div" : alu === "smod" ? "mod" : alu];
    this.#withOperand(code, to, right, signed ? 1 : 0);
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

  #wideInto(register: number, value: WideValue): void {
    const code = Class.LD | Mode.IMM | SizeBits[8];
    let low = 0;
    let high = 0;
    let pseudo: number = Pseudo.NONE;
    switch (value.kind) {
      case "imm":
        low = Number(BigInt.asIntN(32, value.value));
        high = Number(BigInt.asIntN(32, value.value >> 32n));
        break;
      case "mapFd":
      case "mapValue":
        this.#maps.push({ instruction: this.#out.length, map: value.map });
        pseudo = value.kind === "mapFd" ? Pseudo.MAP_FD : Pseudo.MAP_VALUE;
        if (value.kind === "mapValue") high = value.offset;
        break;
      case "kernelVariable": {
        const instruction = this.#out.length;
        this.#symbols.push({ instruction, kind: "variable", name: value.name });
        pseudo = Pseudo.BTF_ID;
        break;
      }
      case "function":
        this.#functions.push({ instruction: this.#out.length, callee: value.callee });
        pseudo = Pseudo.FUNC;
        break;
    }
    this.#push(code, register, pseudo, 0, low);
    this.#push(0, 0, 0, 0, high);
  }

  #call({ to, target, args, kept = [] }: Extract<Operation, { op: "call" }>): void {
    this.#parallelMove(
      args.flatMap((arg, index) =>
        "register" in arg ? [{ to: index + 1, from: this.#physical(arg.register) }] : [],
      ),
    );
    args.forEach((arg, index) => {
      if ("imm" in arg) this.#move(index + 1, arg, 8);
    });
    for (const { register, offset } of kept.toReversed()) {
      this.#push(Class.STX | Mode.MEM | SizeBits[8], FRAME, register, offset, 0);
    }
    const instruction = this.#out.length;
    switch (target.kind) {
      case "helper":
        this.#push(Class.JMP | Jump.call, 0, CallKind.HELPER, 0, target.id);
        break;
      case "kfunc":
        this.#symbols.push({ instruction, kind: "function", name: target.name });
        this.#push(Class.JMP | Jump.call, 0, CallKind.KFUNC, 0, 0);
        break;
      case "function":
        this.#functions.push({ instruction, callee: target.callee });
        this.#push(Class.JMP | Jump.call, 0, CallKind.FUNCTION, 0, 0);
        break;
    }
    for (const { register, offset } of kept) {
      this.#push(Class.LDX | Mode.MEM | SizeBits[8], register, FRAME, offset, 0);
    }
    this.#result(to);
  }

  /** What a call leaves in r0 goes where it lives, if anybody asks for it. */
  #result(to: number): void {
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

  #withOperand(code: number, register: number, operand: Operand, offset = 0): void {
    if ("imm" in operand) this.#push(code | Source.IMM, register, 0, offset, operand.imm);
    else this.#push(code | Source.REG, register, this.#physical(operand.register), offset, 0);
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
