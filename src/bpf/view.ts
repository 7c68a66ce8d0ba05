/**
 * Memory as a program sees it: pointers, and structs at a pointer whose fields read and write as
 * their layout says. Constant offsets cost nothing; they go into the instruction.
 */
import type { ByteOrder, Field, Fields, IntField, PadField, Struct } from "./layout.ts";
import { type Base, FRAME_BASE, type Register } from "./ir.ts";
import type { AtomicName, Size } from "./isa.ts";
import { define, type Emitter, Expression, type Scalar, storedOperand, Value } from "./value.ts";

/** An address: a base register (or the frame) and a constant offset. */
export class Pointer {
  readonly emitter: Emitter;
  readonly base: Base;
  readonly offset: number;

  constructor(emitter: Emitter, base: Base, offset = 0) {
    this.emitter = emitter;
    this.base = base;
    this.offset = offset;
  }

  /** `distance` bytes further; a constant one costs no instruction. */
  plus(distance: Scalar): Pointer {
    if (!(distance instanceof Expression)) {
      if (!Number.isInteger(Number(distance))) {
        throw new RangeError(`Cannot go ${distance} bytes further: a whole number is needed`);
      }
      return new Pointer(this.emitter, this.base, this.offset + Number(distance));
    }
    if (this.base === FRAME_BASE) {
      throw new TypeError(
        "Cannot add a run-time distance to a stack address: the verifier refuses it",
      );
    }
    const sum = new Value(this.emitter, this.base, 8).add(distance.read().u64());
    return new Pointer(this.emitter, sum.register, this.offset);
  }

  /** The address itself as a value, for comparisons and calls. */
  address(): Value {
    const { base, offset } = this;
    if (base === FRAME_BASE) return define(this.emitter, 8, (to) => ({ op: "frame", to, offset }));
    return new Value(this.emitter, base, 8).add(offset);
  }

  /** The struct here. */
  as<T extends Fields>(layout: Struct<T>): View<T> {
    const view: Record<string, Place | BytesPlace> = {};
    for (const [key, field] of Object.entries<Field>(layout.fields)) {
      if (field.kind === "pad") continue;
      const at = this.plus(layout.offsets[key] as number);
      view[key] =
        field.kind === "int"
          ? new Place(at, field.size, field.order)
          : new BytesPlace(at, field.size);
    }
    return view as View<T>;
  }

  /** `size` bytes here as a number. */
  place(size: Size, order: ByteOrder = "host"): Place {
    return new Place(this, size, order);
  }
}

/** Fields of a struct in memory. Every mention reads memory: bind to a constant with `read()` to load once. */
export type View<T extends Fields> = {
  readonly [K in keyof T as T[K] extends PadField ? never : K]: T[K] extends IntField
    ? Place
    : BytesPlace;
};

/** A number in memory. */
export class Place extends Expression {
  readonly pointer: Pointer;
  readonly size: Size;
  readonly order: ByteOrder;

  constructor(pointer: Pointer, size: Size, order: ByteOrder) {
    super();
    this.pointer = pointer;
    this.size = size;
    this.order = order;
  }

  read(): Value {
    const { base, offset, emitter } = this.#reachable();
    const { size } = this;
    return define(emitter, size, (to) => ({ op: "load", to, base, offset, size }), this.order);
  }

  set(value: Scalar): void {
    const { base, offset, emitter } = this.#reachable();
    const from = storedOperand(new Value(emitter, -1, this.size, this.order), value);
    emitter.emit({ op: "store", base, offset, from, size: this.size });
  }

  /** Adds without a lock: for memory only this CPU writes. */
  increase(by: Scalar): void {
    this.set(this.read().add(by));
  }

  /** The number with its sign, as 64 bits. @throws {TypeError} in network order */
  readSigned(): Value {
    const { base, offset, emitter } = this.#reachable();
    const { size } = this;
    if (this.order === "network") {
      throw new TypeError("Cannot read a signed number in network order: read and convert it");
    }
    return define(emitter, 8, (to) =>
      size === 8
        ? { op: "load", to, base, offset, size }
        : { op: "load", to, base, offset, size, signed: true },
    );
  }

  /** Reads so that what was stored before the matching release is seen. Needs `acquireRelease`. */
  loadAcquire(): Value {
    const { base, offset, emitter } = this.#reachable();
    const { size } = this;
    const load = { op: "load", base, offset, size, acquire: true } as const;
    return define(emitter, size, (to) => ({ ...load, to }), this.order);
  }

  /** Stores so that whoever acquires the value sees what was stored before. Needs `acquireRelease`. */
  storeRelease(value: Scalar): void {
    const { base, offset, emitter } = this.#reachable();
    const from = this.#register(value);
    const { size } = this;
    emitter.emit({ op: "store", base, offset, from: { register: from }, size, release: true });
  }

  /** Adds as one locked operation. */
  atomicAdd(by: Scalar): void {
    this.#atomic("add", "add", by, false);
  }
  /** Sets bits as one locked operation. */
  atomicOr(bits: Scalar): void {
    this.#atomic("or", "set bits", bits, false);
  }
  /** Keeps only these bits, as one locked operation. */
  atomicAnd(bits: Scalar): void {
    this.#atomic("and", "clear bits", bits, false);
  }
  /** Turns bits over as one locked operation. */
  atomicXor(bits: Scalar): void {
    this.#atomic("xor", "turn bits", bits, false);
  }
  /** The same, and what was there before. */
  fetchAdd(by: Scalar): Value {
    return this.#atomic("add", "add", by, true);
  }
  fetchOr(bits: Scalar): Value {
    return this.#atomic("or", "set bits", bits, true);
  }
  fetchAnd(bits: Scalar): Value {
    return this.#atomic("and", "clear bits", bits, true);
  }
  fetchXor(bits: Scalar): Value {
    return this.#atomic("xor", "turn bits", bits, true);
  }
  /** Stores, and gives what was there before. */
  exchange(value: Scalar): Value {
    return this.#atomic("exchange", "exchange", value, true);
  }

  /** Stores `value` where `expected` is, and gives what was there: `expected` when it was stored. */
  compareExchange(expected: Scalar, value: Scalar): Value {
    const { base, offset, emitter } = this.#reachable();
    const size = this.#atomicSize("compare and exchange");
    const [was, from] = [this.#register(expected), this.#register(value)];
    return define(emitter, size, (to) => ({
      op: "compareExchange",
      to,
      base,
      offset,
      expected: was,
      from,
      size,
    }));
  }

  #atomic(atomic: AtomicName, what: string, value: Scalar, fetch: true): Value;
  #atomic(atomic: AtomicName, what: string, value: Scalar, fetch: false): null;
  #atomic(atomic: AtomicName, what: string, value: Scalar, fetch: boolean): Value | null {
    const { base, offset, emitter } = this.#reachable();
    const size = this.#atomicSize(what);
    const from = this.#register(value);
    const operation = { op: "atomic", atomic, base, offset, from, size } as const;
    if (fetch) return define(emitter, size, (to) => ({ ...operation, to }));
    emitter.emit({ ...operation, to: null });
    return null;
  }

  /** @throws {TypeError} where no atomic operation works */
  #atomicSize(what: string): 4 | 8 {
    if (this.size !== 4 && this.size !== 8) {
      throw new TypeError(`Cannot ${what} atomically to ${this.size} bytes: 4 or 8 are possible`);
    }
    if (this.order === "network") {
      throw new TypeError(
        `Cannot ${what} atomically in network order: only the host's can be computed with`,
      );
    }
    return this.size;
  }

  /** `value` as it would be stored here, in a register. */
  #register(value: Scalar): Register {
    const { emitter } = this.pointer;
    const operand = storedOperand(new Value(emitter, -1, this.size, this.order), value);
    if ("register" in operand) return operand.register;
    const width = this.size === 8 ? 8 : 4;
    return define(emitter, this.size, (to) => ({ op: "move", to, from: operand, width })).register;
  }

  /** The pointer, whose offset must fit the 16 signed bits of an instruction. */
  #reachable(): Pointer {
    const { offset } = this.pointer;
    if (offset < -0x8000 || offset > 0x7fff) {
      throw new RangeError(
        `Cannot access memory ${offset} bytes from a pointer: 32767 is the furthest, start from mapValue() with an offset or add a value`,
      );
    }
    return this.pointer;
  }
}

/** Bytes in memory: addresses, MACs. */
export class BytesPlace {
  readonly pointer: Pointer;
  readonly size: number;

  constructor(pointer: Pointer, size: number) {
    this.pointer = pointer;
    this.size = size;
  }

  /** `size` of the bytes, from `offset` on, as a number. */
  word(offset: number, size: Size, order: ByteOrder = "host"): Place {
    if (offset < 0 || offset + size > this.size) {
      throw new RangeError(`Cannot read ${size} bytes at ${offset}: the field has ${this.size}`);
    }
    return this.pointer.plus(offset).place(size, order);
  }

  /** Copies as many bytes as this has, in the widest steps. */
  set(from: BytesPlace | Uint8Array): void {
    const length = from instanceof BytesPlace ? from.size : from.length;
    if (length !== this.size) {
      throw new RangeError(`Cannot copy ${length} bytes into a field of ${this.size}`);
    }
    for (let at = 0; at < this.size; ) {
      const step = stepFor(
        this.size - at,
        from instanceof BytesPlace ? 8 : 4,
        alignmentOf(this.pointer, at) |
          (from instanceof BytesPlace ? alignmentOf(from.pointer, at) : 0),
      );
      this.word(at, step).set(
        from instanceof BytesPlace ? from.word(at, step) : constantAt(from, at, step),
      );
      at += step;
    }
  }
}

const stepFor = (left: number, widest: Size, offset: number): Size =>
  ([8, 4, 2, 1] as const).find((s) => s <= left && s <= widest && offset % s === 0) ?? 1;

/** What steps must divide: the stack is accessed aligned only (check_ptr_alignment() in kernel/bpf/verifier.c). */
const alignmentOf = ({ base, offset }: Pointer, at: number): number =>
  base === FRAME_BASE ? offset + at : 0;

function constantAt(from: Uint8Array, at: number, size: Size): number {
  let value = 0;
  for (let index = size - 1; index >= 0; index -= 1) value = value * 256 + (from[at + index] ?? 0);
  return value;
}
