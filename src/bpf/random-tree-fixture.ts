/**
 * Random programs as trees, for `random.kernel.test.ts`: written with the builder by
 * `random-writer-fixture.ts`, evaluated with BigInts by `random-evaluator-fixture.ts`.
 */
import { type MapSpec, MapType } from "./image.ts";
import type { Size } from "./isa.ts";

export const INPUT_BYTES = 64;
export const OUTPUTS = 6;
export const PACKET_BYTES = INPUT_BYTES + OUTPUTS * 8;
export const VERDICTS = [2, 3, 0x8000_0001, 77];
export const TABLE = [0n, 0xffff_ffff_ffff_ffffn, 0x0123_4567_89ab_cdefn, 0x8000_0000n];
export const TABLE_MAP: MapSpec = {
  name: "table",
  type: MapType.BPF_MAP_TYPE_ARRAY,
  keySize: 4,
  valueSize: 8,
  maxEntries: TABLE.length,
  flags: 0,
  value: null,
};

export const ARITHMETIC = [
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
  "sar",
] as const;
/** These need `cpuV4`. */
const SIGNED = ["sdiv", "smod"] as const;
export type Arithmetic = (typeof ARITHMETIC)[number] | (typeof SIGNED)[number];
export type Comparison = (typeof COMPARISONS)[number];
/** Words on the stack for atomic operations, at first those of the packet. */
export const CELLS = 2;
export const COMPARISONS = [
  "eq",
  "ne",
  "gt",
  "ge",
  "lt",
  "le",
  "sgt",
  "sge",
  "slt",
  "sle",
  "has",
] as const;

export type Node = { readonly size: Size } & (
  | { readonly kind: "input"; readonly at: number; readonly order: "host" | "network" }
  | { readonly kind: "let" | "variable" | "argument"; readonly index: number }
  | { readonly kind: "call"; readonly index: number; readonly args: readonly [Node, Node] }
  | { readonly kind: "signExtend"; readonly bits: 8 | 16 | 32; readonly of: Node }
  | {
      readonly kind: "arithmetic";
      readonly name: Arithmetic;
      readonly left: Node;
      readonly right: Node | bigint;
    }
  | { readonly kind: "lookup"; readonly of: Node }
  /** The value as it was, and nothing of the processor's number: it lives across a fast call. */
  | { readonly kind: "fastCall"; readonly of: Node }
  | { readonly kind: "cut" | "widen" | "negate" | "swap"; readonly of: Node }
);
export type Test =
  | {
      readonly kind: "compare";
      readonly name: Comparison;
      readonly left: Node;
      readonly right: Node | bigint;
    }
  | {
      readonly kind: "field";
      readonly name: "eq" | "ne" | "has";
      readonly at: number;
      readonly size: Size;
      readonly constant: bigint;
    }
  | { readonly kind: "all" | "any"; readonly parts: readonly { lazy: boolean; test: Test }[] }
  | { readonly kind: "not"; readonly part: Test };
export type Statement =
  | { readonly kind: "let" | "set" | "output"; readonly index: number; readonly value: Node }
  | { readonly kind: "call" }
  /** `let` is what was in the cell. */
  | {
      readonly kind: "atomic";
      readonly name: "fetchAdd" | "fetchOr" | "fetchAnd" | "fetchXor" | "exchange";
      readonly cell: number;
      readonly size: 4 | 8;
      readonly value: Node;
      readonly let: number;
    }
  | {
      readonly kind: "compareExchange";
      readonly cell: number;
      readonly size: 4 | 8;
      /** null: what is in the cell. */
      readonly expected: Node | null;
      readonly value: Node;
      readonly let: number;
    }
  /** `let` is the round. */
  | {
      readonly kind: "repeat";
      readonly count: number;
      readonly let: number;
      readonly body: readonly Statement[];
    }
  /** Out of the innermost loop, or to its next round. */
  | { readonly kind: "done" | "next"; readonly test: Test }
  | { readonly kind: "require" | "leaveIf"; readonly test: Test; readonly exit: number }
  | {
      readonly kind: "if";
      readonly test: Test;
      readonly holds: readonly Statement[];
      readonly otherwise: readonly Statement[] | null;
    }
  | { readonly kind: "leave"; readonly exit: number };

export interface Tree {
  readonly variables: readonly Size[];
  /** Results of functions of two arguments; one may call those before it. */
  readonly functions: readonly { readonly global: boolean; readonly result: Node }[];
  readonly body: readonly Statement[];
  /** Exit 0 and 1 are plain verdicts; the others run these before they return theirs. */
  readonly exits: readonly (readonly Statement[])[];
}

/** mulberry32: small, and the same everywhere. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 0;
  }
  below(count: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * count);
  }
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  bits(count: number): bigint {
    const value = (BigInt(this.below(2 ** 32)) << 32n) | BigInt(this.below(2 ** 32));
    const shaped = this.of([
      value,
      value,
      BigInt(this.below(10)),
      -BigInt(this.below(4)),
      1n << BigInt(this.below(64)),
      (1n << BigInt(this.below(64))) - 1n,
    ]);
    return BigInt.asUintN(count, shaped);
  }
}

export class Generator {
  readonly #random: Random;
  readonly #variables: readonly Size[];
  #lets: Size[] = [];
  /** Where control may leave to: exits lead to later ones only, so that nothing loops. */
  #exits: readonly number[] = [0, 1, 2, 3];
  #budget = 60;

  /** Functions that can be called where we are. */
  #functions = 0;
  #arguments = false;
  #loops = 0;
  readonly #operators: readonly Arithmetic[];

  /** `signed`: with divisions that have signs. */
  constructor(random: Random, signed: boolean) {
    this.#random = random;
    this.#operators = signed ? [...ARITHMETIC, ...SIGNED] : ARITHMETIC;
    this.#variables = Array.from({ length: 1 + random.below(4) }, () =>
      random.of([1, 2, 4, 4, 8, 8]),
    );
  }

  tree(): Tree {
    const random = this.#random;
    const functions = Array.from({ length: random.below(4) }, (_, index) => {
      this.#functions = index;
      this.#arguments = true;
      return { global: random.chance(30), result: this.#node(4) };
    });
    this.#arguments = false;
    this.#functions = functions.length;
    this.#budget = 60;
    const body: Statement[] = [];
    // Many values at once: all made first, and read again in the outputs at the end.
    const early = random.chance(40) ? 4 + random.below(14) : random.below(4);
    for (let made = 0; made < early; made += 1) body.push(this.#let(1));
    body.push(...this.#statements(4 + random.below(8), 0));
    const letsKept = this.#lets.slice(0, early);
    this.#lets = letsKept;
    for (let index = 0; index < OUTPUTS; index += 1) {
      let value = this.#node(1);
      if (index === 0) {
        for (let at = 0; at < early; at += 1) {
          const kept: Node = { kind: "let", index: at, size: letsKept[at] as Size };
          value = this.#arithmetic(random.of(["add", "xor", "sub"]), value, kept);
        }
      }
      body.push({ kind: "output", index, value });
    }
    this.#lets = [];
    const exits = [
      [0, 1, 3],
      [0, 1],
    ].map((leadsTo) => {
      this.#exits = leadsTo;
      return [
        ...this.#statements(1, 2),
        { kind: "output", index: 1, value: this.#node(2) } as const,
      ];
    });
    return { variables: this.#variables, functions, body, exits };
  }

  #statements(count: number, depth: number): Statement[] {
    const visible = this.#lets.length;
    const out = Array.from({ length: count }, () => this.#statement(depth));
    // What a branch binds is unknown where the paths meet again.
    if (depth > 0) this.#lets = this.#lets.slice(0, visible);
    return out;
  }

  #statement(depth: number): Statement {
    const random = this.#random;
    const kind = random.of([
      ...(["let", "let", "set", "set", "output", "call", "guard", "if", "if"] as const),
      ...(["atomic", "compareExchange", "repeat"] as const),
      ...(this.#loops > 0 ? (["done", "next"] as const) : []),
    ]);
    switch (kind) {
      case "set":
        return { kind, index: random.below(this.#variables.length), value: this.#node(3) };
      case "output":
        return { kind, index: random.below(OUTPUTS), value: this.#node(3) };
      case "call":
        return { kind };
      case "guard": {
        const guard = random.of(["require", "leaveIf"] as const);
        return { kind: guard, test: this.#test(2), exit: random.of(this.#exits) };
      }
      case "if":
        if (depth < 2) {
          const test = this.#test(2);
          const holds = this.#branch(depth + 1);
          return {
            kind,
            test,
            holds,
            otherwise: random.chance(60) ? this.#branch(depth + 1) : null,
          };
        }
        return this.#let(3);
      case "atomic": {
        const name = random.of([
          "fetchAdd",
          "fetchOr",
          "fetchAnd",
          "fetchXor",
          "exchange",
        ] as const);
        const [cell, size] = [random.below(CELLS), random.of([4, 8] as const)];
        const value = this.#node(2);
        return { kind, name, cell, size, value, let: this.#bind(size) };
      }
      case "compareExchange": {
        const [cell, size] = [random.below(CELLS), random.of([4, 8] as const)];
        const expected = random.chance(60) ? null : this.#node(1);
        const value = this.#node(2);
        return { kind, cell, size, expected, value, let: this.#bind(size) };
      }
      case "repeat": {
        if (depth >= 2 || this.#loops >= 2) return this.#let(3);
        const visible = this.#lets.length;
        const index = this.#bind(8);
        this.#loops += 1;
        const body = this.#statements(1 + random.below(3), depth + 1);
        this.#loops -= 1;
        this.#lets = this.#lets.slice(0, visible);
        return { kind, count: 1 + random.below(4), let: index, body };
      }
      case "done":
      case "next":
        return { kind, test: this.#test(1) };
      case "let":
        return this.#let(3);
    }
  }

  #branch(depth: number): Statement[] {
    const statements = this.#statements(1 + this.#random.below(3), depth);
    const random = this.#random;
    if (random.chance(10)) statements.push({ kind: "leave", exit: random.of(this.#exits) });
    return statements;
  }

  #let(depth: number): Statement {
    const value = this.#node(depth);
    return { kind: "let", index: this.#bind(value.size), value };
  }

  #bind(size: Size): number {
    this.#lets.push(size);
    return this.#lets.length - 1;
  }

  #node(depth: number): Node {
    const random = this.#random;
    this.#budget -= 1;
    if (depth === 0 || this.#budget < 0 || random.chance(15)) return this.#leaf();
    const kind = random.of([
      "arithmetic",
      "arithmetic",
      "arithmetic",
      "cut",
      "negate",
      "swap",
      "lookup",
      "signExtend",
      "call",
      "fastCall",
    ] as const);
    if (kind === "arithmetic") {
      const left = this.#node(depth - 1);
      const name = random.of(this.#operators);
      if (random.chance(50)) return this.#arithmetic(name, left, this.#node(depth - 1));
      return this.#arithmetic(name, left, this.#constantFor(name, left));
    }
    const of = this.#node(depth - 1);
    switch (kind) {
      case "signExtend": {
        const size = random.of([4, 8] as const);
        const bits = random.of(([8, 16, 32] as const).filter((bits) => bits < size * 8));
        return { kind, of, bits, size };
      }
      case "call": {
        if (this.#functions === 0) return of;
        const index = random.below(this.#functions);
        return { kind, index, args: [of, this.#node(depth - 1)], size: 8 };
      }
      case "cut":
        return random.chance(50) ? { kind, of, size: 4 } : { kind: "widen", of, size: 8 };
      case "negate":
      case "fastCall":
        return { kind, of, size: widthOf(of) };
      case "swap":
        return { kind, of, size: random.of(([1, 2, 4, 8] as const).filter((s) => s <= of.size)) };
      default:
        // Functions have no way to leave the program by.
        return random.chance(50) && !this.#arguments
          ? { kind: "lookup", of, size: 8 }
          : this.#leaf();
    }
  }

  #arithmetic(name: Arithmetic, left: Node, right: Node | bigint): Node {
    const shift = name === "shl" || name === "shr" || name === "sar";
    const size = typeof right === "bigint" || shift ? widthOf(left) : widthOf(left, right);
    return { kind: "arithmetic", name, left, right, size };
  }

  #constantFor(name: string, left: Node): bigint {
    const bits = widthOf(left) * 8;
    if (name.startsWith("sh") || name === "sar") return BigInt(this.#random.below(bits));
    const constant = this.#random.bits(bits);
    return constant === 0n && DIVISIONS.has(name) ? 3n : constant;
  }

  #leaf(): Node {
    const random = this.#random;
    if (this.#arguments) return { kind: "argument", index: random.below(2), size: 8 };
    const kind = random.of(["input", "variable", "let", "let"]);
    if (kind === "let" && this.#lets.length > 0) {
      const index = random.below(this.#lets.length);
      return { kind, index, size: this.#lets[index] as Size };
    }
    if (kind === "variable") {
      const index = random.below(this.#variables.length);
      return { kind, index, size: this.#variables[index] as Size };
    }
    const size = random.of([1, 2, 4, 8] as const);
    const order = random.of(["host", "network"] as const);
    return { kind: "input", at: random.below(INPUT_BYTES - size + 1), order, size };
  }

  #test(depth: number): Test {
    const random = this.#random;
    const kind =
      depth === 0
        ? "compare"
        : random.of(["compare", "compare", "field", "all", "any", "not"] as const);
    switch (kind) {
      case "compare": {
        const left = this.#node(1);
        const name = random.of(COMPARISONS);
        if (random.chance(50)) return { kind, name, left, right: this.#node(1) };
        // A field that can never equal a constant is refused.
        const bits = name === "eq" || name === "ne" ? left.size * 8 : widthOf(left) * 8;
        return { kind, name, left, right: random.bits(bits) };
      }
      case "field": {
        const size = random.of([1, 2, 4, 8] as const);
        const at = random.below(INPUT_BYTES - size + 1);
        const name = random.of(["eq", "ne", "has"] as const);
        return { kind, name, at, size, constant: random.bits(size * 8) };
      }
      case "not":
        return { kind, part: this.#test(depth - 1) };
      case "all":
      case "any": {
        const parts = Array.from({ length: random.below(4) }, () => ({
          lazy: random.chance(60),
          test: this.#test(depth - 1),
        }));
        return { kind, parts };
      }
    }
  }
}

const DIVISIONS: ReadonlySet<string> = new Set(["div", "mod", ...SIGNED]);

export const widthOf = (...nodes: readonly Node[]): 4 | 8 =>
  nodes.some(({ size }) => size === 8) ? 8 : 4;
