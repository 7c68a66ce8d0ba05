/**
 * Gives every virtual register one of r0 to r9, or a place on the stack:
 *
 *     interference.ts  →  colour.ts  →  slots.ts  →  fast-calls.ts
 *           ↑                 │ what found no colour
 *           └──── spill.ts ───┘
 *
 * What crosses a call lives in r6 to r9, the only ones a call keeps (`clobbers.ts`).
 */
import { colour } from "./colour.ts";
import { isFast } from "./clobbers.ts";
import { keepAcross } from "./fast-calls.ts";
import { interferenceOf } from "./interference.ts";
import type { FunctionIr, IrInstruction, Register } from "./ir.ts";
import { STACK_SIZE } from "./isa.ts";
import { asPlainCall } from "./lower.ts";
import { placeSlots } from "./slots.ts";
import { noSpills, spill, spillCosts } from "./spill.ts";
import { instructionsOf, operationsOf } from "./weight.ts";

export interface Allocation {
  readonly code: readonly IrInstruction[];
  /** Physical register by virtual one; -1 for those no instruction mentions. */
  readonly physical: Int8Array;
  readonly stackBytes: number;
  /** Slots on the stack that were needed, before sharing: for tests and reports. */
  readonly spilled: number;
  /** Registers kept across fast calls, summed over these: for tests and reports. */
  readonly kept: number;
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
  const best = waysOf(ir)
    .map((way) => patientAttempt(way, registersMax))
    .reduce((one, other) => (cost(other) < cost(one) ? other : one));
  const { stackBytes } = best;
  if (stackBytes > STACK_SIZE) {
    throw new RangeError(
      `Cannot build "${ir.name}": ${stackBytes} bytes of stack are needed, ${STACK_SIZE} exist`,
    );
  }
  return best;
}

/**
 * With plain calls, and with the fast ones among them: what is kept across one needs stack, room among
 * the registers that arguments move to, and the verifier's time, so it must pay.
 */
function waysOf(ir: Unallocated): readonly Unallocated[] {
  if (!ir.code.some(({ operation }) => isFast(operation))) return [ir];
  const plain = ir.code.map(({ operation, source }) => ({
    operation: asPlainCall(operation),
    source,
  }));
  return [{ ...ir, code: plain }, ir];
}

const cost = (allocation: Allocation): number =>
  allocation.stackBytes > STACK_SIZE ? Infinity : instructionsOf(allocation);

function patientAttempt(ir: Unallocated, registersMax: number): Allocation {
  let best: Allocation | null = null;
  for (const patience of PATIENCES) {
    const allocation = attempt(ir, registersMax, patience);
    if (best === null || operationsOf(allocation) < operationsOf(best)) best = allocation;
    if (allocation.spilled === 0) break;
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
    const { physical, failed } = colour(graph, registersMax, costs);
    if (failed.length === 0) {
      const placed = placeSlots(code, spills.slots, ir.stackBytes);
      const { kept, ...rest } = keepAcross(placed.code, physical, placed.stackBytes);
      return { ...rest, physical, spilled: spills.slots, kept };
    }
    const victims = new Set<Register>();
    for (const group of failed) {
      const members = group.filter((register) => !spills.final.has(register));
      if (members.length > 0) {
        for (const register of members) victims.add(register);
      } else {
        victims.add(cheapestNeighbour(group, graph.neighbours, costs.whole));
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
