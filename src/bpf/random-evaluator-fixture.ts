/** Evaluates random trees (`random-tree-fixture.ts`) with BigInts, apart from the builder and its passes. */
import type { Size } from "./isa.ts";
import {
  type Arithmetic,
  CELLS,
  type Comparison,
  INPUT_BYTES,
  type Node,
  type Statement,
  TABLE,
  type Test,
  type Tree,
  widthOf,
} from "./random-tree-fixture.ts";

/** What the program must leave: the outputs and the verdict. */
export class Evaluator {
  readonly #lets: bigint[] = [];
  readonly #variables: bigint[];
  readonly #sizes: readonly Size[];
  readonly #packet: DataView;
  readonly #functions: Tree["functions"];
  readonly #cells: bigint[];

  constructor(tree: Tree, packet: Uint8Array) {
    this.#functions = tree.functions;
    this.#sizes = tree.variables;
    this.#variables = tree.variables.map((_, index) => BigInt(index));
    this.#packet = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    this.#cells = Array.from({ length: CELLS }, (_, cell) => this.#number(cell * 8, 8, true));
  }

  /** The exit taken, how the innermost loop is left, or null where control goes on. */
  run(statements: readonly Statement[]): number | "done" | "next" | null {
    for (const statement of statements) {
      switch (statement.kind) {
        case "let":
          this.#lets[statement.index] = this.#value(statement.value);
          break;
        case "set": {
          const bits = (this.#sizes[statement.index] as number) * 8;
          this.#variables[statement.index] = BigInt.asUintN(bits, this.#value(statement.value));
          break;
        }
        case "output":
          this.#packet.setBigUint64(
            INPUT_BYTES + statement.index * 8,
            this.#value(statement.value),
            true,
          );
          break;
        case "call":
          break;
        case "require":
          if (!this.#test(statement.test)) return statement.exit;
          break;
        case "leaveIf":
          if (this.#test(statement.test)) return statement.exit;
          break;
        case "if": {
          const side = this.#test(statement.test) ? statement.holds : (statement.otherwise ?? []);
          const exit = this.run(side);
          if (exit !== null) return exit;
          break;
        }
        case "atomic": {
          const { name, cell, size } = statement;
          const was = this.#cell(cell, size);
          this.#store(cell, size, ATOMIC[name](was, this.#value(statement.value)));
          this.#lets[statement.let] = was;
          break;
        }
        case "compareExchange": {
          const { cell, size, expected } = statement;
          const was = this.#cell(cell, size);
          const wanted = expected === null ? was : this.#value(expected);
          const value = this.#value(statement.value);
          if (was === BigInt.asUintN(size * 8, wanted)) this.#store(cell, size, value);
          this.#lets[statement.let] = was;
          break;
        }
        case "repeat":
          for (let round = 0; round < statement.count; round += 1) {
            this.#lets[statement.let] = BigInt(round);
            const left = this.run(statement.body);
            if (typeof left === "number") return left;
            if (left === "done") break;
          }
          break;
        case "done":
        case "next":
          if (this.#test(statement.test)) return statement.kind;
          break;
        case "leave":
          return statement.exit;
      }
    }
    return null;
  }

  #cell(cell: number, size: 4 | 8): bigint {
    return BigInt.asUintN(size * 8, this.#cells[cell] as bigint);
  }

  #store(cell: number, size: 4 | 8, value: bigint): void {
    const upper = size === 4 ? ((this.#cells[cell] as bigint) >> 32n) << 32n : 0n;
    this.#cells[cell] = upper | BigInt.asUintN(size * 8, value);
  }

  #value(node: Node | bigint, args: readonly bigint[] = []): bigint {
    if (typeof node === "bigint") return node;
    const bits = node.size * 8;
    switch (node.kind) {
      case "input":
        return this.#number(node.at, node.size, node.order === "host");
      case "let":
        return this.#lets[node.index] as bigint;
      case "variable":
        return this.#variables[node.index] as bigint;
      case "arithmetic":
        return calculate(
          node.name,
          this.#value(node.left, args),
          this.#value(node.right, args),
          bits,
        );
      case "cut":
      case "widen":
      case "fastCall":
        return BigInt.asUintN(bits, this.#value(node.of, args));
      case "negate":
        return BigInt.asUintN(bits, -this.#value(node.of, args));
      case "swap": {
        let from = BigInt.asUintN(bits, this.#value(node.of, args));
        let to = 0n;
        for (let byte = 0; byte < node.size; byte += 1) {
          to = (to << 8n) | (from & 0xffn);
          from >>= 8n;
        }
        return to;
      }
      case "signExtend":
        return BigInt.asUintN(bits, BigInt.asIntN(node.bits, this.#value(node.of, args)));
      case "argument":
        return args[node.index] as bigint;
      case "call": {
        const values = node.args.map((arg) => this.#value(arg, args));
        return this.#value((this.#functions[node.index] as Tree["functions"][0]).result, values);
      }
      case "lookup":
        return TABLE[Number(this.#value(node.of, args) & 3n)] as bigint;
    }
  }

  #test(of: Test): boolean {
    switch (of.kind) {
      case "compare": {
        const { left, right } = of;
        const width = typeof right === "bigint" ? widthOf(left) : widthOf(left, right);
        return compare(of.name, this.#value(left), this.#value(right), width * 8);
      }
      case "field":
        return compare(of.name, this.#number(of.at, of.size, false), of.constant, 64);
      case "not":
        return !this.#test(of.part);
      case "all":
        return of.parts.every(({ test }) => this.#test(test));
      case "any":
        return of.parts.some(({ test }) => this.#test(test));
    }
  }

  #number(at: number, size: Size, little: boolean): bigint {
    let value = 0n;
    for (let index = 0; index < size; index += 1) {
      const byte = this.#packet.getUint8(at + (little ? size - 1 - index : index));
      value = (value << 8n) | BigInt(byte);
    }
    return value;
  }
}

const ATOMIC = {
  fetchAdd: (was: bigint, value: bigint) => was + value,
  fetchOr: (was: bigint, value: bigint) => was | value,
  fetchAnd: (was: bigint, value: bigint) => was & value,
  fetchXor: (was: bigint, value: bigint) => was ^ value,
  exchange: (_: bigint, value: bigint) => value,
};

function calculate(name: Arithmetic, left: bigint, right: bigint, bits: number): bigint {
  const count = right & BigInt(bits - 1);
  const [signedLeft, signedRight] = [BigInt.asIntN(bits, left), BigInt.asIntN(bits, right)];
  const results = {
    add: () => left + right,
    sub: () => left - right,
    mul: () => left * right,
    div: () => (right === 0n ? 0n : left / right),
    mod: () => (right === 0n ? left : left % right),
    and: () => left & right,
    or: () => left | right,
    xor: () => left ^ right,
    shl: () => left << count,
    shr: () => left >> count,
    sar: () => signedLeft >> count,
    sdiv: () => (signedRight === 0n ? 0n : signedLeft / signedRight),
    smod: () => (signedRight === 0n ? left : signedLeft % signedRight),
  };
  return BigInt.asUintN(bits, results[name]());
}

function compare(name: Comparison, left: bigint, right: bigint, bits: number): boolean {
  const [signedLeft, signedRight] = [BigInt.asIntN(bits, left), BigInt.asIntN(bits, right)];
  const results = {
    eq: left === right,
    ne: left !== right,
    gt: left > right,
    ge: left >= right,
    lt: left < right,
    le: left <= right,
    sgt: signedLeft > signedRight,
    sge: signedLeft >= signedRight,
    slt: signedLeft < signedRight,
    sle: signedLeft <= signedRight,
    has: (left & right) !== 0n,
  };
  return results[name];
}
