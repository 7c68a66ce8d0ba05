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

/** @throws {RangeError} when the stack does not hold what must be spilled */
export function allocate(
  ir: Pick<FunctionIr, "name" | "code" | "registerCount" | "stackBytes">,
  options: AllocateOptions = {},
): Allocation {
  const { registersMax = 10 } = options;
  if (registersMax < 6 || registersMax > 10) {
    throw new RangeError(`Cannot use ${registersMax} registers: 6 to 10 are possible`);
  }
  const spills = noSpills();
  let { code, registerCount } = ir;
  for (;;) {
    const graph = interferenceOf(code, registerCount);
    const costs = spillCosts(code, registerCount, spills);
    const { physical, failed } = colour(graph, registersMax, (register) => costs[register] ?? 0);
    if (failed.length === 0) {
      const placed = placeSlots(code, spills.slots, ir.stackBytes);
      if (placed.stackBytes > STACK_SIZE) {
        throw new RangeError(
          `Cannot build "${ir.name}": ${placed.stackBytes} bytes of stack are needed, ${STACK_SIZE} exist`,
        );
      }
      return { ...placed, physical, spilled: spills.slots };
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
