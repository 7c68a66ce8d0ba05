/** Writes random trees (`random-tree-fixture.ts`) with the builder. */
import type { Exit, FunctionBuilder, Loop } from "./function.ts";
import { Helper } from "./helpers.ts";
import type { FunctionIr } from "./ir.ts";
import { loadPacket } from "./packet-load.ts";
import type { Program } from "./program.ts";
import {
  CELLS,
  INPUT_BYTES,
  type Node,
  PACKET_BYTES,
  type Statement,
  TABLE_MAP,
  type Test,
  type Tree,
  VERDICTS,
} from "./random-tree-fixture.ts";
import { type schedCls, SkbBuilder } from "./skb.ts";
import { number64, subprogram } from "./subprogram.ts";
import { all, any, type Lazy, not, type Scalar, type Value, type Variable } from "./value.ts";
import type { Pointer } from "./view.ts";
import type { xdp, XdpBuilder } from "./xdp.ts";

/** Writes the tree with the builder. */
class Writer {
  readonly #p: XdpBuilder | SkbBuilder;
  readonly #data: Pointer;
  readonly #lets: Value[] = [];
  readonly #variables: Variable[];
  readonly #exits: (number | Exit)[];
  readonly #functions: readonly FunctionIr[];
  readonly #cells: Pointer[];
  /** 0, which nobody knows: it lives as long as there are loads at it. */
  readonly #nothing: Value;
  readonly #loops: Loop[] = [];

  constructor(p: XdpBuilder | SkbBuilder, tree: Tree) {
    this.#p = p;
    const packet = p.packet();
    packet.require(PACKET_BYTES, 0);
    this.#data = packet.data;
    this.#variables = tree.variables.map((size, index) => p.variable(index, size));
    this.#nothing = p.call(Helper.getPrandomU32).u32().and(0);
    this.#cells = Array.from({ length: CELLS }, () => p.stack(8));
    this.#cells.forEach((cell, index) => {
      // Of what an atomic operation stored the verifier knows nothing. Of known words it takes the one
      // fetched for known too, and may prune paths that differ (fixed in Linux 6.18.50 and 7.0, "bpf: Fix
      // incorrect pruning due to atomic fetch precision tracking").
      cell.place(8).set(0);
      cell.place(8).atomicOr(
        this.#data
          .plus(index * 8)
          .place(8)
          .read(),
      );
    });
    this.#functions = functionsOf(tree);
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
        case "atomic": {
          const { name, cell, size, value } = statement;
          const place = (this.#cells[cell] as Pointer).place(size);
          this.#lets[statement.let] = place[name](this.#value(value));
          break;
        }
        case "compareExchange": {
          const { cell, size, expected, value } = statement;
          const place = (this.#cells[cell] as Pointer).place(size);
          const was = expected === null ? place.read() : this.#value(expected);
          this.#lets[statement.let] = place.compareExchange(was, this.#value(value));
          break;
        }
        case "repeat":
          p.repeat(statement.count, (index, loop) => {
            this.#lets[statement.let] = index;
            this.#loops.push(loop);
            this.write(statement.body);
            this.#loops.pop();
          });
          break;
        case "done":
        case "next":
          p.leaveIf(this.#test(statement.test), (this.#loops.at(-1) as Loop)[statement.kind]);
          break;
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
        if (this.#p instanceof SkbBuilder && node.order === "network" && node.size < 8) {
          return loadPacket(this.#p, node.size, node.at, node.at % 2 === 0 ? null : this.#nothing);
        }
        const value = this.#data.plus(node.at).place(node.size, node.order).read();
        return node.order === "network" ? value.toHost() : value;
      }
      case "let":
        return this.#lets[node.index] as Value;
      case "variable":
        return this.#variables[node.index] as Value;
      case "lookup":
        return this.#p.lookup(TABLE_MAP, this.#value(node.of).and(3), 1).place(8).read();
      case "call": {
        const args = node.args.map((arg) => this.#value(arg));
        return this.#p.call(this.#functions[node.index] as FunctionIr, ...args);
      }
      case "argument":
        throw new Error("The program itself has no arguments");
      case "fastCall":
        return besideFastCall(this.#p, this.#value(node.of));
      default:
        return calculated(node, (of) => this.#value(of));
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

const besideFastCall = (f: FunctionBuilder, value: Value): Value =>
  value.add(f.call(Helper.getSmpProcessorId).unchanged(4).and(0));

/** Operators on values, wherever those come from. */
function calculated(
  node: Extract<Node, { kind: "arithmetic" | "cut" | "widen" | "negate" | "swap" | "signExtend" }>,
  value: (of: Node) => Value,
): Value {
  switch (node.kind) {
    case "arithmetic": {
      const left = value(node.left);
      return left[node.name](typeof node.right === "bigint" ? node.right : value(node.right));
    }
    case "cut":
      return value(node.of).u32();
    case "widen":
      return value(node.of).u64();
    case "negate":
      return value(node.of).neg();
    case "swap":
      return value(node.of).toNetwork(node.size).raw();
    case "signExtend":
      return value(node.of).signExtend(node.bits, node.size === 8 ? 8 : 4);
  }
}

function functionsOf(tree: Tree): readonly FunctionIr[] {
  const functions: FunctionIr[] = [];
  for (const [index, { global, result }] of tree.functions.entries()) {
    const write = (f: FunctionBuilder, a: Value, b: Value): void => {
      const value = (node: Node): Value => {
        switch (node.kind) {
          case "argument":
            return node.index === 0 ? a : b;
          case "call":
            return f.call(functions[node.index] as FunctionIr, ...node.args.map(value));
          case "fastCall":
            return besideFastCall(f, value(node.of));
          case "input":
          case "let":
          case "variable":
          case "lookup":
            throw new Error(`A function has no ${node.kind}`);
          default:
            return calculated(node, value);
        }
      };
      f.return(value(result));
    };
    functions.push(subprogram(`f${index}`, [number64, number64], write, { global }));
  }
  return functions;
}

/** The whole program of a tree; over a socket buffer it reads numbers in network order by packet loads. */
export const programOf = (tree: Tree, build: typeof xdp | typeof schedCls): Program =>
  build("random", (p: XdpBuilder | SkbBuilder) => {
    const writer = new Writer(p, tree);
    writer.write(tree.body);
    p.return(1);
  });
