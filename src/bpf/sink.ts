/**
 * Moves loads and constants down to where their value is read first, so that it holds a register no
 * longer than it must: authors like to read a struct's fields together, and hash ten words of them
 * later.
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
  let waiting: readonly IrInstruction[] = [];
  const release = (wanted: (operation: Operation) => boolean): void => {
    for (const instruction of waiting) if (wanted(instruction.operation)) out.push(instruction);
    waiting = waiting.filter(({ operation }) => !wanted(operation));
  };
  for (const instruction of block) {
    const { operation } = instruction;
    if (mayStore(operation)) release(({ op }) => op === "load");
    const read = new Set<Register>(usedBy(operation));
    const written = definedBy(operation);
    // What it reads must be there, and what it writes nobody may still want.
    release((other) => {
      const to = definedBy(other);
      const conflicts = written !== null && (to === written || usedBy(other).includes(written));
      return conflicts || (to !== null && read.has(to));
    });
    if (canWait(operation)) waiting = [...waiting, instruction];
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

function canWait(operation: Operation): boolean {
  switch (operation.op) {
    case "load":
      return operation.acquire !== true;
    case "wide":
    case "frame":
      return true;
    case "move":
      return "imm" in operation.from;
    default:
      return false;
  }
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
