/**
 * Values of a program under construction: numbers in virtual registers, with the operators that emit
 * instructions on them. JavaScript's operators act while the program is built, these when it runs.
 *
 * A value knows its size and byte order. Constants are swapped when the program is built, so a
 * field in network order is compared at no cost; arithmetic on one is refused.
 */
import type { ByteOrder } from "./layout.ts";
import type { AluName, JumpName, Size } from "./isa.ts";
import type { Operand, Operation, Register, Width } from "./ir.ts";

/** What a value needs of the function it belongs to. */
export interface Emitter {
  fresh(): Register;
  emit(operation: Operation): void;
}

/** Anything an operator takes. */
export type Scalar = Expression | number | bigint;

/** Something that can be read into a register: a value, or a place in memory (one load per reading). */
export abstract class Expression {
  /** The value now, in a register. */
  abstract read(): Value;

  add(other: Scalar): Value {
    return arithmetic("add", this.read(), other);
  }
  sub(other: Scalar): Value {
    return arithmetic("sub", this.read(), other);
  }
  mul(other: Scalar): Value {
    return arithmetic("mul", this.read(), other);
  }
  /** Unsigned; division by zero gives 0, as the instruction set says. */
  div(other: Scalar): Value {
    return arithmetic("div", this.read(), other);
  }
  /** Unsigned; modulo zero leaves the dividend. */
  mod(other: Scalar): Value {
    return arithmetic("mod", this.read(), other);
  }
  /** Signed, rounding towards zero. Needs `cpuV4`. */
  sdiv(other: Scalar): Value {
    return arithmetic("sdiv", this.read(), other);
  }
  /** Signed: the sign is the dividend's. Needs `cpuV4`. */
  smod(other: Scalar): Value {
    return arithmetic("smod", this.read(), other);
  }
  and(other: Scalar): Value {
    return arithmetic("and", this.read(), other);
  }
  or(other: Scalar): Value {
    return arithmetic("or", this.read(), other);
  }
  xor(other: Scalar): Value {
    return arithmetic("xor", this.read(), other);
  }
  shl(other: Scalar): Value {
    return arithmetic("lsh", this.read(), other);
  }
  shr(other: Scalar): Value {
    return arithmetic("rsh", this.read(), other);
  }
  /** Shift right keeping the sign. */
  sar(other: Scalar): Value {
    return arithmetic("arsh", this.read(), other);
  }

  eq(other: Scalar): Condition {
    return comparison("eq", this.read(), other);
  }
  ne(other: Scalar): Condition {
    return comparison("ne", this.read(), other);
  }
  gt(other: Scalar): Condition {
    return comparison("gt", this.read(), other);
  }
  ge(other: Scalar): Condition {
    return comparison("ge", this.read(), other);
  }
  lt(other: Scalar): Condition {
    return comparison("lt", this.read(), other);
  }
  le(other: Scalar): Condition {
    return comparison("le", this.read(), other);
  }
  /** Signed comparisons. */
  sgt(other: Scalar): Condition {
    return comparison("sgt", this.read(), other);
  }
  sge(other: Scalar): Condition {
    return comparison("sge", this.read(), other);
  }
  slt(other: Scalar): Condition {
    return comparison("slt", this.read(), other);
  }
  sle(other: Scalar): Condition {
    return comparison("sle", this.read(), other);
  }
  /** Whether any bit of `mask` is set. */
  has(mask: Scalar): Condition {
    return comparison("set", this.read(), mask);
  }
}

export class Value extends Expression {
  readonly emitter: Emitter;
  readonly register: Register;
  readonly size: Size;
  readonly order: ByteOrder;

  constructor(emitter: Emitter, register: Register, size: Size, order: ByteOrder = "host") {
    super();
    this.emitter = emitter;
    this.register = register;
    this.size = size;
    this.order = order;
  }

  read(): Value {
    return this;
  }

  /** The same bits under another size or order; no code. */
  protected relabelled(size: Size, order: ByteOrder = "host"): Value {
    return new Value(this.emitter, this.register, size, order);
  }

  /** Itself, or for a variable what it holds now: what an operator that changes nothing gives. */
  unchanged(size: Size = this.size): Value {
    return this.relabelled(size, this.order);
  }

  /** The same bits as a 64-bit host value; no code, registers are zero-extended. */
  u64(): Value {
    return this.relabelled(8);
  }

  /** The low 32 bits. */
  u32(): Value {
    if (this.size <= 4) return this.relabelled(4);
    return define(this.emitter, 4, (to) => ({
      op: "move",
      to,
      from: { register: this.register },
      width: 4,
    }));
  }

  /** The same bits taken as host order, for hashing and copying; no code. */
  raw(): Value {
    return this.relabelled(this.size);
  }

  /** The low `size` bytes taken as network order as they are; no code when that is all of them. */
  asNetwork(size: Size = this.size): Value {
    const bits = size < this.size ? this.raw().and((1n << BigInt(size * 8)) - 1n) : this;
    return bits.relabelled(size, "network");
  }

  /** Converts to host order; nothing to do when it is already. */
  toHost(): Value {
    return this.order === "host" ? this.unchanged() : swapped(this, this.size, "host");
  }

  /** Converts the low `size` bytes to network order; nothing to do when it is in it already. */
  toNetwork(size: Size = this.size): Value {
    if (this.order === "host") return swapped(this, size, "network");
    if (size !== this.size) {
      throw new TypeError(
        `Cannot take ${size} bytes of ${this.size} in network order: use toHost() first`,
      );
    }
    return this.unchanged();
  }

  /** The low `bits` with their sign, as a number of 32 or 64 bits: -1 stays -1. */
  signExtend(
    bits: 8 | 16 | 32 = (Math.min(this.size, 4) * 8) as 8 | 16 | 32,
    width: Width = 8,
  ): Value {
    requireHost("sign-extend", this);
    if (bits >= width * 8) {
      throw new RangeError(`Cannot sign-extend ${bits} bits to ${width * 8}: they are as many`);
    }
    const from = this.register;
    return define(this.emitter, width, (to) => ({ op: "extend", to, from, bits, width }));
  }

  /** The low `size` bytes in reverse, whatever their order meant. */
  reversed(size: Size = this.size): Value {
    return swapped(this, size, "host");
  }

  /** Two's complement negation. */
  neg(): Value {
    requireHost("negate", this);
    const width = widthOf(this);
    return define(this.emitter, width, (to) => ({
      op: "negate",
      to,
      from: this.register,
      width,
    }));
  }
}

/**
 * A value that can be assigned again, at run time. Reading it means what it holds then, and a
 * condition on it is decided where the condition is used; what is computed from it does not change.
 */
export class Variable extends Value {
  /** Assigns; a wider value is cut to the variable's size. @throws {RangeError} for a constant that is too wide */
  set(value: Scalar): void {
    const from = storedOperand(this, this.#narrowed(value));
    this.emitter.emit({
      op: "move",
      to: this.register,
      from,
      width: this.size === 8 ? 8 : 4,
    });
  }

  /** Registers hold 32 bits at least: what is beyond a smaller variable is cut here. */
  #narrowed(value: Scalar): Scalar {
    if (this.size >= 4 || !(value instanceof Expression)) return value;
    const source = value.read();
    return source.size > this.size ? source.and((1 << (this.size * 8)) - 1) : source;
  }

  protected override relabelled(size: Size, order: ByteOrder = "host"): Value {
    return new Value(this.emitter, this.copy().register, size, order);
  }

  /** What it holds now, unaffected by later assignments. */
  copy(): Value {
    const width = this.size === 8 ? 8 : 4;
    return define(
      this.emitter,
      this.size,
      (to) => ({ op: "move", to, from: { register: this.register }, width }),
      this.order,
    );
  }
}

/** Something a guard or `if` decides on. Parts of `all` and `any` given as functions are emitted lazily. */
export type Condition =
  | {
      readonly kind: "test";
      readonly test: JumpName;
      readonly left: Register;
      readonly right: Operand;
      readonly width: Width;
      readonly emitter: Emitter;
    }
  | { readonly kind: "all" | "any"; readonly parts: readonly Lazy[] }
  | { readonly kind: "not"; readonly part: Lazy };
export type Lazy = Condition | (() => Condition);

/** Holds when every part does; a part is not evaluated after one that does not hold. */
export const all = (...parts: Lazy[]): Condition => ({ kind: "all", parts });
/** Holds when one part does; a part is not evaluated after one that holds. */
export const any = (...parts: Lazy[]): Condition => ({ kind: "any", parts });
export const not = (part: Lazy): Condition => ({ kind: "not", part });

/** `scalar` as an operand for `beside`: swapped if that is in network order, in a register if it needs one. */
export function operandOf(beside: Value, scalar: Scalar, width: Width): Operand {
  if (scalar instanceof Expression) {
    const value = scalar.read();
    requireOwn(beside.emitter, value.emitter);
    if (value.order !== beside.order) {
      throw new TypeError(
        `Cannot mix a value in ${beside.order} order with one in ${value.order} order: convert one with toHost() or toNetwork()`,
      );
    }
    if (value.order === "network" && value.size !== beside.size) {
      throw new TypeError(
        `Cannot mix ${beside.size} and ${value.size} bytes in network order: convert with toHost(), and back with toNetwork(${beside.size})`,
      );
    }
    return { register: value.register };
  }
  return immediate(beside.emitter, constantFor(beside, BigInt(scalar)), width);
}

/** `scalar` as what is stored in `into`. @throws {RangeError} for a constant that is too wide */
export function storedOperand(into: Value, scalar: Scalar): Operand {
  if (scalar instanceof Expression) return operandOf(into, scalar, widthOf(into));
  requireFits(BigInt(scalar), into.size);
  // A negative constant must not fill more of a register than the bytes it stands for.
  const stored = into.order === "host" && into.size < 4 ? unsigned(scalar, into.size) : scalar;
  return operandOf(into, stored, widthOf(into));
}

/** @throws {RangeError} when `constant` has no place in `size` bytes, signed or not */
export function requireFits(constant: bigint, size: Size): void {
  const bits = BigInt(size * 8);
  if (constant < -(1n << (bits - 1n)) || constant >= 1n << bits) {
    throw new RangeError(`Cannot use ${constant} as a constant: it does not fit ${bits} bits`);
  }
}

/** @throws {TypeError} when a value of one function is used in another: its register is another's there */
export function requireOwn(emitter: Emitter, other: Emitter): void {
  if (other !== emitter) {
    throw new TypeError("Cannot use what was made in another function: pass it as a parameter");
  }
}

/** A constant as an operand; loaded into a register when it does not fit the 32 signed bits of one. */
export function immediate(emitter: Emitter, constant: bigint, width: Width): Operand {
  const signed = BigInt.asIntN(width * 8, constant);
  const fits = width === 4 || BigInt.asIntN(32, signed) === signed;
  requireFits(constant, width);
  if (fits) return { imm: Number(BigInt.asIntN(32, signed)) };
  const to = emitter.fresh();
  emitter.emit({ op: "wide", to, value: { kind: "imm", value: BigInt.asUintN(64, constant) } });
  return { register: to };
}

/** Defines a new value by one operation. */
export function define(
  emitter: Emitter,
  size: Size,
  operation: (to: Register) => Operation,
  order: ByteOrder = "host",
): Value {
  const to = emitter.fresh();
  emitter.emit(operation(to));
  return new Value(emitter, to, size, order);
}

const BITWISE: ReadonlySet<AluName> = new Set(["and", "or", "xor"]);
/** Operations that change nothing with this constant. */
const NEUTRAL: Partial<Record<AluName, bigint>> = {
  add: 0n,
  sub: 0n,
  or: 0n,
  xor: 0n,
  lsh: 0n,
  rsh: 0n,
  arsh: 0n,
  mul: 1n,
  div: 1n,
  sdiv: 1n,
};
const SHIFTS: ReadonlySet<AluName> = new Set(["lsh", "rsh", "arsh"]);
const DIVISIONS: ReadonlySet<AluName> = new Set(["div", "mod", "sdiv", "smod"]);

function arithmetic(alu: AluName, left: Value, other: Scalar): Value {
  if (!BITWISE.has(alu)) requireHost(alu, left);
  const right = other instanceof Expression ? other.read() : other;
  // How far a value is shifted says nothing about how wide it is.
  const width = right instanceof Value && !SHIFTS.has(alu) ? widthOf(left, right) : widthOf(left);
  const size = left.order === "network" ? left.size : width;
  if (!(right instanceof Value)) {
    const constant = BigInt(right);
    if (DIVISIONS.has(alu) && constant === 0n) {
      throw new RangeError("Cannot divide by the constant 0: the verifier refuses it");
    }
    if (SHIFTS.has(alu) && (constant < 0n || constant >= BigInt(width * 8))) {
      throw new RangeError(`Cannot shift a ${width * 8}-bit value by ${constant}`);
    }
    if (NEUTRAL[alu] === constant) return left.unchanged(size);
  }
  // Addresses of a shift count are not addresses of the same kind: only bitwise operands share an order.
  const operand = operandOf(left, right, width);
  return define(
    left.emitter,
    size,
    (to) => ({ op: "alu", to, alu, left: left.register, right: operand, width }),
    left.order,
  );
}

function comparison(test: JumpName, left: Value, other: Scalar): Condition {
  if (test !== "eq" && test !== "ne" && test !== "set") requireHost("compare", left);
  const right = other instanceof Expression ? other.read() : other;
  const width = right instanceof Value ? widthOf(left, right) : widthOf(left);
  if ((test === "eq" || test === "ne") && !(right instanceof Value) && left.size < 4) {
    const constant = BigInt(right);
    if (constant !== unsigned(constant, left.size)) {
      throw new RangeError(
        `Cannot compare a value of ${left.size * 8} bits with ${constant}: it is never equal`,
      );
    }
  }
  return {
    kind: "test",
    test,
    left: left.register,
    right: operandOf(left, right, width),
    width,
    emitter: left.emitter,
  };
}

function swapped(value: Value, size: Size, order: ByteOrder): Value {
  if (size === 1) {
    const byte = value.size === 1 ? value.unchanged() : value.and(0xff);
    return new Value(value.emitter, byte.register, 1, order);
  }
  const bits = (size * 8) as 16 | 32 | 64;
  return define(
    value.emitter,
    size,
    (to) => ({ op: "swap", to, from: value.register, bits }),
    order,
  );
}

function requireHost(what: string, value: Value): void {
  if (value.order === "network") {
    throw new TypeError(`Cannot ${what} a value in network order: convert it with toHost() first`);
  }
}

const unsigned = (constant: number | bigint, size: Size): bigint =>
  BigInt.asUintN(size * 8, BigInt(constant));

const widthOf = (...values: Value[]): Width => (values.some((value) => value.size === 8) ? 8 : 4);

function constantFor(beside: Value, constant: bigint): bigint {
  if (beside.order === "host" || beside.size === 1) return constant;
  const size = beside.size;
  if (constant < 0n || constant >= 1n << BigInt(size * 8)) {
    throw new RangeError(`Cannot use ${constant} beside a field of ${size} bytes in network order`);
  }
  let swappedConstant = 0n;
  for (let index = 0; index < size; index += 1) {
    swappedConstant = (swappedConstant << 8n) | ((constant >> BigInt(index * 8)) & 0xffn);
  }
  return swappedConstant;
}
