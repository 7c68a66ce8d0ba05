/**
 * Gives every virtual register one of r0 to r9, or a place on the stack:
 *
 *     interference.ts  →  colour.ts  →  slots.ts
 *           ↑                 │ what found no colour
 *           └──── spill.ts ───┘
 *
 * What crosses a call lives in r6 to r9, the only ones a call keeps: to the verifier every call
 * overwrites r0 to r5, however many arguments it takes.
 */
import { colour } from "./colour.ts";
import { interferenceOf } from "./interference.ts";
import type { FunctionIr, IrInstruction, Register } from "./ir.ts";
import { STACK_SIZE } from "./isa.ts";
import { blocksOf, frequenciesOf } from "./liveness.ts";
import { placeSlots } from "./slots.ts";
import { noSpills, spill, spillCosts } from "./spill.ts";

export interface Allocation {
  readonly code: readonly IrInstruction[];
  /** Physical register by virtual one; -1 for those no instruction mentions. */
  readonly physical: Int8Array;
  readonly stackBytes: number;
  /** Slots on the stack that were needed, before sharing: for tests and reports. */
  readonly spilled: number;
}

export interface AllocateOptions {
  /** Use fewer than ten registers, to force spilling in tests. At least 6: a call takes five. */
  readonly registersMax?: number;
}

/**
 * How long a spilled value keeps its register for the next reader, in instructions: which is best
 * depends on the program, so all are tried.
 */
const PATIENCES = [16, 8] as const;

/** @throws {RangeError} when the stack does not hold what must be spilled */
export function allocate(ir: Unallocated, options: AllocateOptions = {}): Allocation {
  const { registersMax = 10 } = options;
  if (registersMax < 6 || registersMax > 10) {
    throw new RangeError(`Cannot use ${registersMax} registers: 6 to 10 are possible`);
  }
  let best: Allocation | null = null;
  for (const patience of PATIENCES) {
    const allocation = attempt(ir, registersMax, patience);
    if (best === null || weightOf(allocation) < weightOf(best)) best = allocation;
    if (allocation.spilled === 0) break;
  }
  const { stackBytes } = best as Allocation;
  if (stackBytes > STACK_SIZE) {
    throw new RangeError(
      `Cannot build "${ir.name}": ${stackBytes} bytes of stack are needed, ${STACK_SIZE} exist`,
    );
  }
  return best as Allocation;
}

type Unallocated = Pick<FunctionIr, "name" | "code" | "registerCount" | "stackBytes">;

function attempt(ir: Unallocated, registersMax: number, patience: number): Allocation {
  const spills = noSpills(patience);
  let { code, registerCount } = ir;
  for (;;) {
    const graph = interferenceOf(code, registerCount);
    const costs = spillCosts(code, registerCount, spills);
    const { physical, failed } = colour(graph, registersMax, (register) => costs[register] ?? 0);
    if (failed.length === 0) {
      return { ...placeSlots(code, spills.slots, ir.stackBytes), physical, spilled: spills.slots };
    }
    const victims = new Set<Register>();
    for (const group of failed) {
      const members = group.filter((register) => !spills.final.has(register));
      if (members.length > 0) {
        for (const register of members) victims.add(register);
      } else {
        victims.add(cheapestNeighbour(group, graph.neighbours, costs));
      }
    }
    ({ code, registerCount } = spill(code, [...victims], registerCount, spills));
  }
}

/** Instructions, weighted by how often they run. */
function weightOf({ code, physical }: Allocation): number {
  const blocks = blocksOf(code);
  const frequencies = frequenciesOf(code, blocks);
  let weight = 0;
  blocks.forEach(({ start, end }, index) => {
    for (const { operation } of code.slice(start, end)) {
      const { op } = operation;
      const isNothing =
        op === "label" ||
        (op === "move" &&
          operation.width === 8 &&
          "register" in operation.from &&
          physical[operation.from.register] === physical[operation.to]);
      if (!isNothing) weight += frequencies[index] ?? 1;
    }
  });
  return weight;
}

/** A piece that cannot be spilled makes room by what lies beside it. */
function cheapestNeighbour(
  group: readonly Register[],
  neighbours: readonly ReadonlySet<Register>[],
  costs: Float64Array,
): Register {
  const beside = group.flatMap((register) => [...(neighbours[register] ?? [])]);
  const cost = (register: Register): number => costs[register] ?? Infinity;
  const [first, ...rest] = beside.filter((register) => cost(register) < Infinity);
  if (first === undefined) {
    throw new Error("No register can be spilled: an instruction needs more than there are");
  }
  return rest.reduce((best, other) => (cost(other) < cost(best) ? other : best), first);
}
