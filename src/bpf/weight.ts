/** What allocated code costs, weighted by how often it runs. */
import type { IrInstruction, Operand, Operation, Register } from "./ir.ts";
import { CONTEXT } from "./isa.ts";
import { blocksOf, frequenciesOf } from "./liveness.ts";

interface Allocated {
  readonly code: readonly IrInstruction[];
  readonly physical: Int8Array;
}

/** Operations, but for moves of a register to itself. */
export const operationsOf = (allocated: Allocated): number =>
  weightOf(allocated, (operation, physical) => {
    if (operation.op === "label") return 0;
    const { op } = operation;
    const isNothing =
      op === "move" &&
      operation.width === 8 &&
      "register" in operation.from &&
      physical[operation.from.register] === physical[operation.to];
    return isNothing ? 0 : 1;
  });

/**
 * Instructions as `encode.ts` writes them, with the moves into place, and what JIT compilers add for
 * each of r6 to r9: a push and a pop. Those by which fast calls keep registers are not counted: they
 * do not run.
 */
export function instructionsOf(allocated: Allocated): number {
  const saved = new Set(allocated.physical.filter((register) => register >= 6));
  return weightOf(allocated, instructionsFor) + 2 * saved.size;
}

function weightOf(
  { code, physical }: Allocated,
  count: (operation: Operation, physical: Int8Array) => number,
): number {
  const blocks = blocksOf(code);
  const frequencies = frequenciesOf(code, blocks);
  let weight = 0;
  blocks.forEach(({ start, end }, index) => {
    for (const { operation } of code.slice(start, end)) {
      weight += count(operation, physical) * (frequencies[index] ?? 1);
    }
  });
  return weight;
}

function instructionsFor(operation: Operation, physical: Int8Array): number {
  const moved = (register: Register, to: number | undefined): number =>
    physical[register] === to ? 0 : 1;
  const set = (from: Operand, to: number | undefined): number =>
    "imm" in from ? 1 : moved(from.register, to);
  /** Nobody asks for what has no register. */
  const result = (to: Register, from: number): number =>
    (physical[to] ?? -1) < 0 ? 0 : moved(to, from);
  switch (operation.op) {
    case "label":
      return 0;
    case "move":
      return operation.width === 8 ? set(operation.from, physical[operation.to]) : 1;
    case "parameter":
      return result(operation.to, operation.index + 1);
    case "alu": {
      const { to, left, right } = operation;
      const swapped = "register" in right && physical[right.register] === physical[to];
      return swapped ? 1 : 1 + moved(left, physical[to]);
    }
    case "negate":
    case "swap":
      return 1 + moved(operation.from, physical[operation.to]);
    case "atomic":
      return operation.to === null ? 1 : 1 + moved(operation.from, physical[operation.to]);
    case "compareExchange":
      return 1 + moved(operation.expected, 0) + result(operation.to, 0);
    case "packetLoad":
      return 1 + moved(operation.context, CONTEXT) + result(operation.to, 0);
    case "call": {
      const args = operation.args.reduce((sum, arg, index) => sum + set(arg, index + 1), 0);
      return 1 + args + result(operation.to, 0);
    }
    case "exit":
      return 1 + set(operation.from, 0);
    default:
      return 1;
  }
}
