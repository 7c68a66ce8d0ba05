/**
 * Does less for the same result. Each pass is a function from code to code; they run in turns until
 * nothing changes, since each makes work for the others: what `fold.ts` works out is read by nobody.
 * This file leaves out what does nothing: code no path reaches, values nobody reads, jumps to the
 * next instruction.
 */
import { folded } from "./fold.ts";
import {
  definedBy,
  type IrInstruction,
  isPure,
  type Label,
  type Operation,
  targetOf,
} from "./ir.ts";
import { INVERSE_JUMP } from "./isa.ts";
import { reused } from "./reuse.ts";
import { blocksOf, livenessOf, stepBack } from "./liveness.ts";
import { sunk } from "./sink.ts";

export interface Code {
  readonly code: readonly IrInstruction[];
  readonly registerCount: number;
}

export function optimise({ code, registerCount }: Code): Code {
  let current = code;
  for (let rounds = 0; rounds < ROUNDS_MAX; rounds += 1) {
    const next = PASSES.reduce((done, pass) => pass(done), current);
    if (next.length === current.length) return { code: sunk(next), registerCount };
    current = next;
  }
  return { code: sunk(current), registerCount };
}

/** Far more than programs need: three or four. */
const ROUNDS_MAX = 20;
const PASSES: readonly ((code: readonly IrInstruction[]) => readonly IrInstruction[])[] = [
  folded,
  threaded,
  straightened,
  withoutUnreachable,
  withoutIdleJumps,
  reused,
  withoutDeadValues,
];

/** Jumps that lead to a goto lead where it goes. */
function threaded(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const destination = new Map<Label, Label>();
  let labels: Label[] = [];
  for (const { operation } of code) {
    if (operation.op === "label") {
      labels.push(operation.label);
      continue;
    }
    if (operation.op === "goto") {
      for (const label of labels) {
        if (label !== operation.target) destination.set(label, operation.target);
      }
    }
    labels = [];
  }
  const follow = (label: Label): Label => {
    const seen = new Set<Label>();
    let at = label;
    for (let next = destination.get(at); next !== undefined && !seen.has(next); ) {
      seen.add(next);
      at = next;
      next = destination.get(at);
    }
    return at;
  };
  return code.map((instruction) => {
    const { operation, source } = instruction;
    const before = targetOf(operation);
    if (before === null) return instruction;
    const target = follow(before);
    return target === before
      ? instruction
      : { operation: { ...operation, target } as Operation, source };
  });
}

/** A jump over a goto is the opposite jump to where that leads. */
function straightened(code: readonly IrInstruction[]): readonly IrInstruction[] {
  return code.flatMap((instruction, index): readonly IrInstruction[] => {
    const { operation, source } = instruction;
    const next = code[index + 1]?.operation;
    const over = code[index + 2]?.operation;
    if (operation.op === "jump" && next?.op === "goto" && over?.op === "label") {
      const test = INVERSE_JUMP[operation.test];
      if (test !== undefined && operation.target === over.label) {
        return [{ operation: { ...operation, test, target: next.target }, source }];
      }
    }
    const before = code[index - 1]?.operation;
    const isSkipped =
      operation.op === "goto" &&
      before?.op === "jump" &&
      next?.op === "label" &&
      before.target === next.label &&
      INVERSE_JUMP[before.test] !== undefined;
    return isSkipped ? [] : [instruction];
  });
}

/** The verifier refuses code that no path reaches. */
export function withoutUnreachable(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const blocks = blocksOf(code);
  const reached = new Set<number>([0]);
  const pending = [0];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    for (const successor of blocks[at]?.successors ?? []) {
      if (reached.has(successor)) continue;
      reached.add(successor);
      pending.push(successor);
    }
  }
  return blocks.flatMap((block, index) =>
    reached.has(index) ? code.slice(block.start, block.end) : [],
  );
}

/** Drops jumps to where control goes anyway, and labels nobody jumps to. */
function withoutIdleJumps(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const idle = (instruction: IrInstruction, index: number): boolean => {
    const { operation } = instruction;
    const target = targetOf(operation);
    if (target === null) return false;
    for (let next = index + 1; ; next += 1) {
      const following = code[next]?.operation;
      if (following?.op !== "label") return false;
      if (following.label === target) return true;
    }
  };
  const kept = code.filter((instruction, index) => !idle(instruction, index));
  const targets = new Set(kept.map(({ operation }) => targetOf(operation)));
  return kept.filter(
    ({ operation }) =>
      operation.op !== "label" || operation.cold === true || targets.has(operation.label),
  );
}

function withoutDeadValues(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const { blocks, liveOut } = livenessOf(code);
  const dead = new Set<number>();
  blocks.forEach((block, index) => {
    const live = new Set(liveOut[index]);
    for (let at = block.end - 1; at >= block.start; at -= 1) {
      const instruction = code[at] as IrInstruction;
      const defined = definedBy(instruction.operation);
      if (defined !== null && !live.has(defined) && isPure(instruction.operation)) {
        dead.add(at);
        continue;
      }
      stepBack(live, instruction);
    }
  });
  return code.filter((_, index) => !dead.has(index));
}
