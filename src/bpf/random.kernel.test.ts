/**
 * Random programs: generated once as a tree, then written with the builder and evaluated with
 * BigInts, and compared on random packets. What differs is a bug of the builder, its passes or the
 * evaluation here. `BPF_RANDOM_PROGRAMS=10000` for a long run, `BPF_RANDOM_SEED` for the one printed.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  BPF_CAPABILITIES,
  effectiveCapabilities,
  missingCapabilities,
} from "../kernel/capabilities.ts";
import { createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { allocate } from "./allocate.ts";
import { disassemble } from "./disassemble.ts";
import type { Exit } from "./function.ts";
import { Helper } from "./helpers.ts";
import { type MapSpec, MapType } from "./image.ts";
import type { Size } from "./isa.ts";
import { optimise } from "./optimise.ts";
import { type CompileOptions, compile, type Program } from "./program.ts";
import { all, any, type Lazy, not, type Scalar, type Value, type Variable } from "./value.ts";
import type { Pointer } from "./view.ts";
import { xdp, type XdpBuilder } from "./xdp.ts";

const missing = missingCapabilities(effectiveCapabilities(), BPF_CAPABILITIES);
const skip = missing.length > 0 && `missing ${missing.join(", ")}`;
const COUNT = Number(process.env["BPF_RANDOM_PROGRAMS"] ?? 400);
const SEED = Number(process.env["BPF_RANDOM_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const PACKETS = 12;

const INPUT_BYTES = 64;
const OUTPUTS = 6;
const PACKET_BYTES = INPUT_BYTES + OUTPUTS * 8;
const VERDICTS = [2, 3, 0x8000_0001, 77];
const TABLE = [0n, 0xffff_ffff_ffff_ffffn, 0x0123_4567_89ab_cdefn, 0x8000_0000n];
const SPEC: MapSpec = {
  name: "table",
  type: MapType.BPF_MAP_TYPE_ARRAY,
  keySize: 4,
  valueSize: 8,
  maxEntries: TABLE.length,
  flags: 0,
  value: null,
};

const ARITHMETIC = [
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
const COMPARISONS = [
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

type Node = { readonly size: Size } & (
  | { readonly kind: "input"; readonly at: number; readonly order: "host" | "network" }
  | { readonly kind: "let" | "variable"; readonly index: number }
  | {
      readonly kind: "arithmetic";
      readonly name: (typeof ARITHMETIC)[number];
      readonly left: Node;
      readonly right: Node | bigint;
    }
  | { readonly kind: "cut" | "widen" | "negate" | "swap" | "lookup"; readonly of: Node }
);
type Test =
  | {
      readonly kind: "compare";
      readonly name: (typeof COMPARISONS)[number];
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
type Statement =
  | { readonly kind: "let" | "set" | "output"; readonly index: number; readonly value: Node }
  | { readonly kind: "call" }
  | { readonly kind: "require" | "leaveIf"; readonly test: Test; readonly exit: number }
  | {
      readonly kind: "if";
      readonly test: Test;
      readonly holds: readonly Statement[];
      readonly otherwise: readonly Statement[] | null;
    }
  | { readonly kind: "leave"; readonly exit: number };

interface Tree {
  readonly variables: readonly Size[];
  readonly body: readonly Statement[];
  /** Exit 0 and 1 are plain verdicts; the others run these before they return theirs. */
  readonly exits: readonly (readonly Statement[])[];
}

/** mulberry32: small, and the same everywhere. */
class Random {
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

class Generator {
  readonly #random: Random;
  readonly #variables: readonly Size[];
  #lets: Size[] = [];
  /** Where control may leave to: exits lead to later ones only, so that nothing loops. */
  #exits: readonly number[] = [0, 1, 2, 3];
  #budget = 60;

  constructor(random: Random) {
    this.#random = random;
    this.#variables = Array.from({ length: 1 + random.below(4) }, () =>
      random.of([1, 2, 4, 4, 8, 8]),
    );
  }

  tree(): Tree {
    const random = this.#random;
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
    return { variables: this.#variables, body, exits };
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
    const kinds = ["let", "let", "set", "set", "output", "call", "guard", "if", "if"] as const;
    const kind = random.of(kinds);
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
    this.#lets.push(value.size);
    return { kind: "let", index: this.#lets.length - 1, value };
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
    ]);
    if (kind === "arithmetic") {
      const left = this.#node(depth - 1);
      const name = random.of(ARITHMETIC);
      if (random.chance(50)) return this.#arithmetic(name, left, this.#node(depth - 1));
      return this.#arithmetic(name, left, this.#constantFor(name, left));
    }
    const of = this.#node(depth - 1);
    switch (kind) {
      case "cut":
        return random.chance(50) ? { kind, of, size: 4 } : { kind: "widen", of, size: 8 };
      case "negate":
        return { kind, of, size: widthOf(of) };
      case "swap":
        return { kind, of, size: random.of(([1, 2, 4, 8] as const).filter((s) => s <= of.size)) };
      default:
        return random.chance(50) ? { kind: "lookup", of, size: 8 } : this.#leaf();
    }
  }

  #arithmetic(name: (typeof ARITHMETIC)[number], left: Node, right: Node | bigint): Node {
    const shift = name === "shl" || name === "shr" || name === "sar";
    const size = typeof right === "bigint" || shift ? widthOf(left) : widthOf(left, right);
    return { kind: "arithmetic", name, left, right, size };
  }

  #constantFor(name: string, left: Node): bigint {
    const bits = widthOf(left) * 8;
    if (name.startsWith("sh") || name === "sar") return BigInt(this.#random.below(bits));
    const constant = this.#random.bits(bits);
    return constant === 0n && (name === "div" || name === "mod") ? 3n : constant;
  }

  #leaf(): Node {
    const random = this.#random;
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

const widthOf = (...nodes: readonly Node[]): 4 | 8 =>
  nodes.some(({ size }) => size === 8) ? 8 : 4;

/** Writes the tree with the builder. */
class Writer {
  readonly #p: XdpBuilder;
  readonly #data: Pointer;
  readonly #lets: Value[] = [];
  readonly #variables: Variable[];
  readonly #exits: (number | Exit)[];

  constructor(p: XdpBuilder, tree: Tree) {
    this.#p = p;
    const packet = p.packet();
    packet.require(PACKET_BYTES, 0);
    this.#data = packet.data;
    this.#variables = tree.variables.map((size, index) => p.variable(index, size));
    this.#exits = VERDICTS.map((verdict, index) => {
      const statements = tree.exits[index - 2];
      if (statements === undefined) return verdict;
      return p.exit(() => {
        this.write(statements);
        p.return(verdict);
      });
    });
  }

  write(statements: readonly Statement[]): void {
    const p = this.#p;
    for (const statement of statements) {
      switch (statement.kind) {
        case "let": {
          const value = this.#value(statement.value);
          // The name of a variable is the variable; a let is what it held.
          this.#lets[statement.index] =
            statement.value.kind === "variable" ? value.unchanged() : value;
          break;
        }
        case "set":
          (this.#variables[statement.index] as Variable).set(this.#value(statement.value));
          break;
        case "output":
          this.#data
            .plus(INPUT_BYTES + statement.index * 8)
            .place(8)
            .set(this.#value(statement.value));
          break;
        case "call":
          p.call(Helper.jiffies64);
          break;
        case "require":
          p.require(this.#test(statement.test), this.#exit(statement.exit));
          break;
        case "leaveIf":
          p.leaveIf(this.#test(statement.test), this.#exit(statement.exit));
          break;
        case "if": {
          const { holds, otherwise } = statement;
          p.if(
            this.#test(statement.test),
            () => this.write(holds),
            otherwise === null ? undefined : () => this.write(otherwise),
          );
          break;
        }
        case "leave":
          p.goto(this.#exit(statement.exit));
          break;
      }
    }
  }

  #exit(index: number): number | Exit {
    return this.#exits[index] as number | Exit;
  }

  #value(node: Node): Value {
    switch (node.kind) {
      case "input": {
        const value = this.#data.plus(node.at).place(node.size, node.order).read();
        return node.order === "network" ? value.toHost() : value;
      }
      case "let":
        return this.#lets[node.index] as Value;
      case "variable":
        return this.#variables[node.index] as Value;
      case "arithmetic":
        return this.#value(node.left)[node.name](this.#scalar(node.right));
      case "cut":
        return this.#value(node.of).u32();
      case "widen":
        return this.#value(node.of).u64();
      case "negate":
        return this.#value(node.of).neg();
      case "swap":
        return this.#value(node.of).toNetwork(node.size).raw();
      case "lookup":
        return this.#p.lookup(SPEC, this.#value(node.of).and(3), 1).place(8).read();
    }
  }

  #scalar(of: Node | bigint): Scalar {
    return typeof of === "bigint" ? of : this.#value(of);
  }

  #test(of: Test): Lazy {
    switch (of.kind) {
      case "compare":
        return this.#value(of.left)[of.name](this.#scalar(of.right));
      case "field":
        return this.#data.plus(of.at).place(of.size, "network")[of.name](of.constant);
      case "not":
        return not(this.#test(of.part));
      case "all":
      case "any": {
        const parts = of.parts.map(({ lazy, test }): Lazy => {
          if (!lazy) return this.#test(test);
          return () => {
            const part = this.#test(test);
            return typeof part === "function" ? part() : part;
          };
        });
        return of.kind === "all" ? all(...parts) : any(...parts);
      }
    }
  }
}

/** What the program must leave: the outputs and the verdict. */
class Evaluator {
  readonly #lets: bigint[] = [];
  readonly #variables: bigint[];
  readonly #sizes: readonly Size[];
  readonly #packet: DataView;

  constructor(tree: Tree, packet: Uint8Array) {
    this.#sizes = tree.variables;
    this.#variables = tree.variables.map((_, index) => BigInt(index));
    this.#packet = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  }

  /** The exit taken, or null where control goes on. */
  run(statements: readonly Statement[]): number | null {
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
        case "leave":
          return statement.exit;
      }
    }
    return null;
  }

  #value(node: Node | bigint): bigint {
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
        return calculate(node.name, this.#value(node.left), this.#value(node.right), bits);
      case "cut":
      case "widen":
        return BigInt.asUintN(bits, this.#value(node.of));
      case "negate":
        return BigInt.asUintN(bits, -this.#value(node.of));
      case "swap": {
        let from = BigInt.asUintN(bits, this.#value(node.of));
        let to = 0n;
        for (let byte = 0; byte < node.size; byte += 1) {
          to = (to << 8n) | (from & 0xffn);
          from >>= 8n;
        }
        return to;
      }
      case "lookup":
        return TABLE[Number(this.#value(node.of) & 3n)] as bigint;
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

function calculate(
  name: (typeof ARITHMETIC)[number],
  left: bigint,
  right: bigint,
  bits: number,
): bigint {
  const count = right & BigInt(bits - 1);
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
    sar: () => BigInt.asIntN(bits, left) >> count,
  };
  return BigInt.asUintN(bits, results[name]());
}

function compare(
  name: (typeof COMPARISONS)[number],
  left: bigint,
  right: bigint,
  bits: number,
): boolean {
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

const programOf = (tree: Tree): Program =>
  xdp("random", (p) => {
    const writer = new Writer(p, tree);
    writer.write(tree.body);
    p.return(1);
  });

function packetOf(random: Random): Uint8Array {
  const packet = new Uint8Array(PACKET_BYTES);
  const view = new DataView(packet.buffer);
  for (let at = 0; at < INPUT_BYTES; at += 8) view.setBigUint64(at, random.bits(64), true);
  return packet;
}

const hex = (packet: Uint8Array): string =>
  Buffer.from(packet.subarray(INPUT_BYTES))
    .toString("hex")
    .replaceAll(/(.{16})/g, "$1 ");

test("random programs do in the kernel what BigInts say", { skip }, (t) => {
  t.diagnostic(`BPF_RANDOM_SEED=${SEED} BPF_RANDOM_PROGRAMS=${COUNT}`);
  const table = createMap(SPEC);
  after(() => table.close());
  TABLE.forEach((value, index) =>
    table.update(
      new Uint8Array(Uint32Array.of(index).buffer),
      new Uint8Array(BigUint64Array.of(value).buffer),
    ),
  );
  const tally = { spilled: 0, spilledPrograms: 0, forced: 0, tooMany: 0, runs: 0, left: 0 };
  for (let number = 0; number < COUNT; number += 1) {
    const random = new Random(SEED + number * 7919);
    const tree = new Generator(random).tree();
    const program = programOf(tree);
    const forced = number % 2 === 1;
    const options: CompileOptions = {
      registersMax: forced ? random.of([6, 7]) : 10,
      optimise: number % 4 < 2,
    };
    const where = `program ${number} of BPF_RANDOM_SEED=${SEED}, ${JSON.stringify(options)}`;
    let image;
    try {
      image = compile(program, options);
    } catch (error) {
      // Everything that crosses a call has a slot of its own, and there are 64.
      if (!(error instanceof RangeError) || !error.message.includes("of stack are needed"))
        throw error;
      tally.tooMany += 1;
      continue;
    }
    assert.deepEqual(compile(program, options).instructions, image.instructions, where);
    if (forced) {
      const { spilled } = allocate({ ...program.function, ...optimise(program.function) }, options);
      tally.forced += 1;
      tally.spilled += spilled;
      if (spilled > 0) tally.spilledPrograms += 1;
    }
    using loaded = loadProgram(image, () => table.fd);
    const run = new TestRun(loaded.fd, { maxPacket: PACKET_BYTES });
    for (let at = 0; at < PACKETS; at += 1) {
      const packet = packetOf(random);
      const wanted = packet.slice();
      const evaluator = new Evaluator(tree, wanted);
      const first = evaluator.run(tree.body);
      let exit = first;
      for (let next = first; next !== null; ) {
        exit = next;
        next = evaluator.run(tree.exits[exit - 2] ?? []);
      }
      const result = run.run(packet);
      tally.runs += 1;
      if (exit !== null) tally.left += 1;
      const verdict = exit === null ? 1 : (VERDICTS[exit] as number);
      if (result.verdict !== verdict || hex(result.packet) !== hex(wanted)) {
        assert.fail(
          `${where}\nkernel ${result.verdict} ${hex(result.packet)}\nwanted ${verdict} ${hex(wanted)}\n${disassemble(image)}`,
        );
      }
    }
  }
  t.diagnostic(JSON.stringify(tally));
  assert.ok(tally.spilledPrograms > tally.forced / 2, "fewer registers force spills");
  assert.ok(tally.tooMany < COUNT / 20, "nearly every program fits the stack");
  assert.ok(
    tally.left > tally.runs / 20 && tally.left < tally.runs,
    "exits are taken, and not always",
  );
});
