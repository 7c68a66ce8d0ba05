/**
 * Control flow and liveness: which registers may still be read, and where. Plain backward data flow
 * over basic blocks, so loops and variables written more than once are right by construction.
 */
import {
  definedBy,
  endsFlow,
  type IrInstruction,
  type Label,
  type Register,
  usedBy,
} from "./ir.ts";

/** Instructions `start` to `end` (exclusive) that run one after the other. */
export interface Block {
  readonly start: number;
  readonly end: number;
  /** Indexes of the blocks control may reach next. */
  readonly successors: readonly number[];
}

/** Splits code at labels and after jumps. */
export function blocksOf(code: readonly IrInstruction[]): Block[] {
  const starts = new Set<number>([0]);
  code.forEach(({ operation }, index) => {
    if (operation.op === "label") starts.add(index);
    if (operation.op === "jump" || endsFlow(operation)) starts.add(index + 1);
  });
  const sorted = [...starts].filter((start) => start < code.length).toSorted((a, b) => a - b);
  const blockOfLabel = new Map<Label, number>();
  sorted.forEach((start, block) => {
    const operation = code[start]?.operation;
    if (operation?.op === "label") blockOfLabel.set(operation.label, block);
  });
  const target = (label: Label): number => {
    const block = blockOfLabel.get(label);
    if (block === undefined) throw new Error(`Label ${label} is jumped to but placed nowhere`);
    return block;
  };
  return sorted.map((start, block) => {
    const end = sorted[block + 1] ?? code.length;
    const last = code[end - 1]?.operation;
    const successors: number[] = [];
    if (last?.op === "jump" || last?.op === "goto") successors.push(target(last.target));
    if (last !== undefined && !endsFlow(last) && end < code.length) successors.push(block + 1);
    return { start, end, successors };
  });
}

export interface Liveness {
  readonly blocks: readonly Block[];
  /** Registers read later, at the end of each block. */
  readonly liveOut: readonly ReadonlySet<Register>[];
  /** Registers read later, at the start of each block. */
  readonly liveIn: readonly ReadonlySet<Register>[];
}

export function livenessOf(code: readonly IrInstruction[]): Liveness {
  const blocks = blocksOf(code);
  const liveIn = blocks.map(() => new Set<Register>());
  const liveOut = blocks.map(() => new Set<Register>());
  for (let changed = true; changed; ) {
    changed = false;
    for (let index = blocks.length - 1; index >= 0; index -= 1) {
      const block = blocks[index] as Block;
      const out = liveOut[index] as Set<Register>;
      for (const successor of block.successors) {
        for (const register of liveIn[successor] as Set<Register>) out.add(register);
      }
      const live = new Set(out);
      for (let at = block.end - 1; at >= block.start; at -= 1) {
        stepBack(live, code[at] as IrInstruction);
      }
      const before = liveIn[index] as Set<Register>;
      if (live.size !== before.size) {
        changed = true;
        for (const register of live) before.add(register);
      }
    }
  }
  return { blocks, liveIn, liveOut };
}

/** Moves a live set from after an instruction to before it. */
export function stepBack(live: Set<Register>, { operation }: IrInstruction): void {
  const defined = definedBy(operation);
  if (defined !== null) live.delete(defined);
  for (const register of usedBy(operation)) live.add(register);
}
