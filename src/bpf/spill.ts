/**
 * Puts registers that found no colour on the stack. A value is stored where it is made, and loaded
 * again where it is read next after a call or after it was not read for a while; between, it lives
 * in a register of its own, so it is split rather than banned. What fails even so is loaded for each
 * instruction that reads it; those pieces are never spilled, so this ends. Constants and addresses
 * are not stored but made again.
 */
import { clobbersAll } from "./clobbers.ts";
import {
  definedBy,
  type IrInstruction,
  type Operation,
  type Register,
  renamed,
  usedBy,
} from "./ir.ts";
import { type Block, blocksOf, frequenciesOf, predecessorsOf } from "./liveness.ts";

/** What is known of pieces of spilled registers, from round to round. */
export interface Spills {
  /** Where a piece that may be spilled again comes from. */
  readonly origins: Map<Register, Origin>;
  /** Pieces that are as short as can be. */
  readonly final: Set<Register>;
  slots: number;
  /** Instructions after which a value that nobody read gives its register back. */
  readonly patience: number;
}

/** A slot on the stack, or an operation that makes the value from nothing. */
type Origin =
  | { readonly kind: "slot"; readonly slot: number }
  | { readonly kind: "made"; readonly by: Operation };

export const noSpills = (patience: number): Spills => ({
  origins: new Map(),
  final: new Set(),
  slots: 0,
  patience,
});

/** In instructions weighted by how often they run. */
export interface SpillCosts {
  /** Of the loads and stores between pieces: how much a register is in the way of others. */
  readonly pieces: Float64Array;
  /** The same, but what would stay in one piece is loaded for each of its readers. */
  readonly whole: Float64Array;
}

/** What spilling each register would cost. */
export function spillCosts(
  code: readonly IrInstruction[],
  registerCount: number,
  { final, patience }: Spills,
): SpillCosts {
  const costs = new Float64Array(registerCount);
  const made = remakable(code);
  const blocks = blocksOf(code);
  const frequencies = frequenciesOf(code, blocks);
  const reads = new Float64Array(registerCount);
  const isSplit = new Uint8Array(registerCount);
  walkPieces(code, blocks, new PieceWalk(blocks, null, patience), (register, event, block) => {
    const frequency = frequencies[block] ?? 1;
    if (event === "load") isSplit[register] = 1;
    if (event === "read") reads[register] = (reads[register] ?? 0) + frequency;
    else if (event === "load") costs[register] = (costs[register] ?? 0) + frequency;
    else if (made.has(register)) costs[register] = (costs[register] ?? 0) - frequency;
    else costs[register] = (costs[register] ?? 0) + frequency;
  });
  for (const register of final) costs[register] = Infinity;
  const whole = costs.map((cost, at) => (isSplit[at] === 0 ? cost + (reads[at] ?? 0) : cost));
  return { pieces: costs, whole };
}

/** Spills `registers`, none of them final. */
export function spill(
  code: readonly IrInstruction[],
  registers: readonly Register[],
  registerCount: number,
  spills: Spills,
): { readonly code: readonly IrInstruction[]; readonly registerCount: number } {
  const made = remakable(code);
  const blocks = blocksOf(code);
  const split = new Set(registers.filter((register) => !spills.origins.has(register)));
  // Split only what has several pieces: one piece would be what it was.
  const reloads = new Map<Register, number>();
  walkPieces(code, blocks, new PieceWalk(blocks, split, spills.patience), (register, event) => {
    if (event === "load") reloads.set(register, (reloads.get(register) ?? 0) + 1);
  });
  for (const register of split) if (!reloads.has(register)) split.delete(register);

  const origins = new Map<Register, Origin>();
  for (const register of registers) {
    const by = made.get(register);
    let origin = spills.origins.get(register);
    if (origin === undefined && by !== undefined) origin = { kind: "made", by };
    if (origin === undefined) {
      origin = { kind: "slot", slot: spills.slots };
      spills.slots += 1;
    }
    origins.set(register, origin);
  }

  let fresh = registerCount;
  const piece = (register: Register): Register => {
    const name = fresh;
    fresh += 1;
    if (split.has(register)) spills.origins.set(name, origins.get(register) as Origin);
    else spills.final.add(name);
    return name;
  };
  const out: IrInstruction[] = [];
  const wanted = new Set(registers);
  const walk = new PieceWalk(blocks, split, spills.patience);
  blocks.forEach((block, index) => {
    walk.enter(index);
    for (let at = block.start; at < block.end; at += 1) {
      const { operation, source } = code[at] as IrInstruction;
      const defined = definedBy(operation);
      const defines = defined !== null && wanted.has(defined) ? defined : null;
      const definedOrigin = defines === null ? undefined : origins.get(defines);
      // The piece is made of something that is still there: its readers go there themselves.
      if (operation.op === "reload" && defines !== null) continue;
      if (definedOrigin?.kind === "made") continue;
      if (operation.op === "spill" && wanted.has(operation.from)) {
        const origin = origins.get(operation.from);
        // Written where the value was made, below.
        if (origin?.kind === "slot" && origin.slot === operation.slot) continue;
      }
      const names = new Map<Register, Register>();
      for (const register of usedBy(operation)) {
        if (!wanted.has(register) || names.has(register)) continue;
        let name = walk.pieceOf(register);
        if (name === null) {
          name = piece(register);
          const origin = origins.get(register) as Origin;
          const load: Operation =
            origin.kind === "slot"
              ? { op: "reload", to: name, slot: origin.slot }
              : renamed(
                  origin.by,
                  (used) => used,
                  () => name as Register,
                );
          out.push({ operation: load, source });
        }
        names.set(register, name);
        walk.hold(register, name);
      }
      const written = defines === null ? null : piece(defines);
      out.push({
        operation: renamed(
          operation,
          (used) => names.get(used) ?? used,
          (to) => written ?? to,
        ),
        source,
      });
      walk.after(operation);
      if (written !== null && defines !== null && definedOrigin?.kind === "slot") {
        out.push({ operation: { op: "spill", slot: definedOrigin.slot, from: written }, source });
        walk.hold(defines, written);
      }
    }
    walk.leave(index);
  });
  return { code: out, registerCount: fresh };
}

/** Tells where pieces of registers would be loaded and stored. */
function walkPieces(
  code: readonly IrInstruction[],
  blocks: readonly Block[],
  walk: PieceWalk,
  tell: (register: Register, event: "read" | "load" | "store", block: number) => void,
): void {
  blocks.forEach((block, index) => {
    walk.enter(index);
    for (let at = block.start; at < block.end; at += 1) {
      const { operation } = code[at] as IrInstruction;
      for (const register of new Set(usedBy(operation))) {
        tell(register, "read", index);
        if (walk.pieceOf(register) === null) tell(register, "load", index);
        walk.hold(register, register);
      }
      walk.after(operation);
      const defined = definedBy(operation);
      if (defined === null) continue;
      tell(defined, "store", index);
      walk.hold(defined, defined);
    }
    walk.leave(index);
  });
}

interface Held {
  readonly piece: Register;
  readonly at: number;
}

/** Which registers are in a piece at each place; a block with one way in starts with what that one ended with. */
class PieceWalk {
  /** Registers that are split; null for all. */
  readonly #only: ReadonlySet<Register> | null;
  readonly #patience: number;
  readonly #predecessors: readonly (readonly number[])[];
  readonly #ends = new Map<number, Map<Register, Held>>();
  #held = new Map<Register, Held>();
  #at = 0;

  constructor(blocks: readonly Block[], only: ReadonlySet<Register> | null, patience: number) {
    this.#only = only;
    this.#patience = patience;
    this.#predecessors = predecessorsOf(blocks);
  }

  enter(block: number): void {
    const [before, ...more] = this.#predecessors[block] ?? [];
    const known = before === undefined || more.length > 0 ? undefined : this.#ends.get(before);
    this.#held = new Map(known);
  }

  leave(block: number): void {
    this.#ends.set(block, this.#held);
  }

  pieceOf(register: Register): Register | null {
    const held = this.#held.get(register);
    return held === undefined || this.#at - held.at > this.#patience ? null : held.piece;
  }

  hold(register: Register, piece: Register): void {
    if (this.#only === null || this.#only.has(register)) {
      this.#held.set(register, { piece, at: this.#at });
    }
  }

  after(operation: Operation): void {
    this.#at += 1;
    if (clobbersAll(operation)) this.#held.clear();
  }
}

/** Registers written once, by an operation that makes the same from nothing anywhere. */
function remakable(code: readonly IrInstruction[]): ReadonlyMap<Register, Operation> {
  const definitions = new Map<Register, Operation | null>();
  for (const { operation } of code) {
    const defined = definedBy(operation);
    if (defined === null) continue;
    const made =
      operation.op === "wide" ||
      operation.op === "frame" ||
      (operation.op === "move" && "imm" in operation.from);
    definitions.set(defined, made && !definitions.has(defined) ? operation : null);
  }
  const out = new Map<Register, Operation>();
  for (const [register, operation] of definitions) {
    if (operation !== null) out.set(register, operation);
  }
  return out;
}
