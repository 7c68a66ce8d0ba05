/**
 * Moves loads down to where their value is read first, so that it holds a register no longer than it
 * must: authors like to read a struct's fields together, and hash ten words of them later.
 *
 * A load moves within its block, never past a store, an atomic operation, a call or an acquiring
 * load. Past other loads it may: plain loads of shared memory have no order among them, unless one
 * needs the other's result (Linux kernel memory model).
 */
import { type IrInstruction, type Operation, type Register, definedBy, usedBy } from "./ir.ts";
import { blocksOf } from "./liveness.ts";

export function sunk(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const out: IrInstruction[] = [];
  for (const { start, end } of blocksOf(code)) {
    out.push(...sunkInBlock(code.slice(start, end)));
  }
  return out;
}

function sunkInBlock(block: readonly IrInstruction[]): readonly IrInstruction[] {
  const out: IrInstruction[] = [];
  let waiting: (IrInstruction & { readonly operation: Extract<Operation, { op: "load" }> })[] = [];
  const release = (wanted: (load: Extract<Operation, { op: "load" }>) => boolean): void => {
    for (const instruction of waiting) if (wanted(instruction.operation)) out.push(instruction);
    waiting = waiting.filter(({ operation }) => !wanted(operation));
  };
  for (const instruction of block) {
    const { operation, source } = instruction;
    const read = new Set<Register>(usedBy(operation));
    const written = definedBy(operation);
    if (mayStore(operation)) release(() => true);
    // What it reads must be there, and what it writes nobody may still want.
    release(
      ({ to, base }) => read.has(to) || to === written || (written !== null && base === written),
    );
    if (operation.op === "load" && operation.acquire !== true) waiting.push({ operation, source });
    else out.push(instruction);
  }
  // The last instruction may be a jump: nothing may come after it.
  const last = out.at(-1);
  if (last !== undefined && leavesBlock(last.operation)) {
    out.pop();
    return [...out, ...waiting, last];
  }
  return [...out, ...waiting];
}

function mayStore(operation: Operation): boolean {
  switch (operation.op) {
    case "store":
    case "spill":
    case "atomic":
    case "compareExchange":
    case "call":
      return true;
    case "load":
      return operation.acquire === true;
    default:
      return false;
  }
}

const leavesBlock = ({ op }: Operation): boolean =>
  op === "jump" || op === "goto" || op === "mayGoto" || op === "exit";
