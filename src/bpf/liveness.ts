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
  targetOf,
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
    if (targetOf(operation) !== null || endsFlow(operation)) starts.add(index + 1);
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
    const label = last === undefined ? null : targetOf(last);
    if (label !== null) successors.push(target(label));
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
  const written = blocks.map(() => new Set<Register>());
  // What a block reads before it writes it is live at its start, whatever comes after.
  const liveIn = blocks.map((block, index) => {
    const live = new Set<Register>();
    for (let at = block.end - 1; at >= block.start; at -= 1) {
      const instruction = code[at] as IrInstruction;
      const defined = definedBy(instruction.operation);
      if (defined !== null) written[index]?.add(defined);
      stepBack(live, instruction);
    }
    return live;
  });
  const liveOut = blocks.map(() => new Set<Register>());
  for (let changed = true; changed; ) {
    changed = false;
    for (let index = blocks.length - 1; index >= 0; index -= 1) {
      const [out, into] = [liveOut[index] as Set<Register>, liveIn[index] as Set<Register>];
      for (const successor of blocks[index]?.successors ?? []) {
        for (const register of liveIn[successor] as Set<Register>) {
          if (out.has(register)) continue;
          out.add(register);
          if (written[index]?.has(register) === true || into.has(register)) continue;
          into.add(register);
          changed = true;
        }
      }
    }
  }
  return { blocks, liveIn, liveOut };
}

/** For each block those that lead to it. */
export function predecessorsOf(blocks: readonly Block[]): readonly (readonly number[])[] {
  const predecessors = blocks.map((): number[] => []);
  blocks.forEach(({ successors }, index) => {
    for (const successor of new Set(successors)) predecessors[successor]?.push(index);
  });
  return predecessors;
}

/**
 * How often each block runs, as a guess: what lies behind an exit seldom, the inside of a loop eight
 * times for once around it.
 */
export function frequenciesOf(
  code: readonly IrInstruction[],
  blocks: readonly Block[],
): readonly number[] {
  let cold = false;
  const frequencies = blocks.map(({ start }) => {
    const operation = code[start]?.operation;
    cold ||= operation?.op === "label" && operation.cold === true;
    return cold ? COLD : 1;
  });
  blocks.forEach(({ successors }, from) => {
    for (const to of successors) {
      if (to > from) continue;
      // Exits lie behind everything and may lead to earlier ones: no loop.
      if ((frequencies[to] ?? 0) !== (frequencies[from] ?? 0)) continue;
      for (let inside = to; inside <= from; inside += 1) {
        frequencies[inside] = (frequencies[inside] ?? 1) * LOOP;
      }
    }
  });
  return frequencies;
}

const COLD = 1 / 64;
const LOOP = 8;

/** Moves a live set from after an instruction to before it. */
export function stepBack(live: Set<Register>, { operation }: IrInstruction): void {
  const defined = definedBy(operation);
  if (defined !== null) live.delete(defined);
  for (const register of usedBy(operation)) live.add(register);
}
