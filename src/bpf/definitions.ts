/**
 * What is known of registers that are written once, which is all but variables: the operation that
 * makes them, the number they hold, how many bits of it can be set.
 */
import { definedBy, type IrInstruction, type Operation, type Register } from "./ir.ts";

export class Definitions {
  readonly #single = new Map<Register, Operation | null>();
  readonly #all = new Map<Register, Operation[]>();
  readonly #bits = new Map<Register, number>();

  constructor(code: readonly IrInstruction[]) {
    for (const { operation } of code) {
      const defined = definedBy(operation);
      if (defined === null) continue;
      this.#single.set(defined, this.#single.has(defined) ? null : operation);
      const all = this.#all.get(defined);
      if (all === undefined) this.#all.set(defined, [operation]);
      else all.push(operation);
    }
  }

  /** The only operation that writes `register`, or null. */
  of(register: Register): Operation | null {
    return this.#single.get(register) ?? null;
  }

  /** The constant it holds, as 64 unsigned bits, or null. */
  constantOf(register: Register): bigint | null {
    const operation = this.of(register);
    if (operation?.op === "move" && "imm" in operation.from) {
      return BigInt.asUintN(operation.width * 8, BigInt(operation.from.imm));
    }
    return operation?.op === "wide" && operation.value.kind === "imm"
      ? operation.value.value
      : null;
  }

  /**
   * How many low bits may be set; those above are zero on every path. Only what the verifier sees as
   * well counts, so that leaving a mask out takes no bound from it: to it a byte swap gives anything.
   */
  bitsOf(register: Register): number {
    const known = this.#bits.get(register);
    if (known !== undefined) return known;
    // What depends on itself, in a loop, may be anything.
    this.#bits.set(register, 64);
    const all = this.#all.get(register) ?? [];
    const bits = all.length === 0 ? 64 : Math.max(...all.map((operation) => this.#made(operation)));
    this.#bits.set(register, bits);
    return bits;
  }

  #made(operation: Operation): number {
    switch (operation.op) {
      case "load":
        return operation.signed === true ? 64 : operation.size * 8;
      case "wide":
        return operation.value.kind === "imm" ? bitLength(operation.value.value) : 64;
      case "move": {
        const { from, width } = operation;
        const bits =
          "imm" in from
            ? bitLength(BigInt.asUintN(width * 8, BigInt(from.imm)))
            : this.bitsOf(from.register);
        return Math.min(bits, width * 8);
      }
      case "alu":
        return Math.min(this.#calculated(operation), operation.width * 8);
      case "negate":
      case "extend":
        return operation.width * 8;
      case "atomic":
      case "compareExchange":
        return operation.size * 8;
      default:
        return 64;
    }
  }

  #calculated({ alu, left, right, width }: Extract<Operation, { op: "alu" }>): number {
    const imm = "imm" in right ? BigInt.asUintN(width * 8, BigInt(right.imm)) : null;
    const rightBits = (): number =>
      "imm" in right ? bitLength(imm ?? 0n) : this.bitsOf(right.register);
    switch (alu) {
      case "and":
        return Math.min(this.bitsOf(left), rightBits());
      case "or":
      case "xor":
        return Math.max(this.bitsOf(left), rightBits());
      case "rsh":
        return imm === null
          ? 64
          : Math.max(0, Math.min(this.bitsOf(left), width * 8) - Number(imm));
      case "lsh":
        return imm === null ? 64 : this.bitsOf(left) + Number(imm);
      default:
        return 64;
    }
  }
}

const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);
