/**
 * Gives slots of spilled registers places in the frame. Slots that are never full at the same time
 * share one; what is stored and never loaded is left out.
 */
import { FRAME_BASE, type IrInstruction, type Operation } from "./ir.ts";
import { blocksOf } from "./liveness.ts";

/** Replaces `spill` and `reload` by stores and loads below the `stackBytes` already taken. */
export function placeSlots(
  code: readonly IrInstruction[],
  slotCount: number,
  stackBytes: number,
): { readonly code: readonly IrInstruction[]; readonly stackBytes: number } {
  if (slotCount === 0) return { code, stackBytes };
  const { conflicts, idle } = conflictsOf(code, slotCount);
  const places: number[] = [];
  for (let slot = 0; slot < slotCount; slot += 1) {
    const taken = new Set([...(conflicts[slot] ?? [])].map((other) => places[other]));
    let place = 0;
    while (taken.has(place)) place += 1;
    places.push(place);
  }
  const used = new Set<number>();
  const offsetOf = (slot: number): number => {
    const place = places[slot] as number;
    used.add(place);
    return -(stackBytes + (place + 1) * 8);
  };
  const placed = code.flatMap(({ operation, source }, at): IrInstruction[] => {
    if (idle.has(at)) return [];
    return [{ operation: withPlace(operation, offsetOf), source }];
  });
  const deepest = Math.max(-1, ...used);
  return { code: placed, stackBytes: stackBytes + (deepest + 1) * 8 };
}

function withPlace(operation: Operation, offsetOf: (slot: number) => number): Operation {
  const place = { base: FRAME_BASE, size: 8 } as const;
  switch (operation.op) {
    case "spill": {
      const from = { register: operation.from };
      return { op: "store", ...place, offset: offsetOf(operation.slot), from };
    }
    case "reload":
      return { op: "load", ...place, offset: offsetOf(operation.slot), to: operation.to };
    default:
      return operation;
  }
}

/** Slots that are full at the same time, and stores that nobody loads: liveness, with slots for registers. */
function conflictsOf(
  code: readonly IrInstruction[],
  slotCount: number,
): { readonly conflicts: readonly ReadonlySet<number>[]; readonly idle: ReadonlySet<number> } {
  const blocks = blocksOf(code);
  const liveIn = blocks.map(() => new Set<number>());
  const liveOutOf = (index: number): Set<number> =>
    new Set((blocks[index]?.successors ?? []).flatMap((to) => [...(liveIn[to] ?? [])]));
  const walk = (index: number, visit: (at: number, slot: number, live: Set<number>) => void) => {
    const live = liveOutOf(index);
    const { start, end } = blocks[index] ?? { start: 0, end: 0 };
    for (let at = end - 1; at >= start; at -= 1) {
      const operation = code[at]?.operation;
      if (operation?.op === "spill") {
        visit(at, operation.slot, live);
        live.delete(operation.slot);
      } else if (operation?.op === "reload") {
        live.add(operation.slot);
      }
    }
    return live;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let index = blocks.length - 1; index >= 0; index -= 1) {
      const live = walk(index, () => {});
      if (live.size === liveIn[index]?.size) continue;
      liveIn[index] = live;
      changed = true;
    }
  }
  const conflicts = Array.from({ length: slotCount }, () => new Set<number>());
  const idle = new Set<number>();
  blocks.forEach((_, index) => {
    walk(index, (at, slot, live) => {
      if (!live.has(slot)) idle.add(at);
      for (const other of live) {
        if (other === slot) continue;
        conflicts[slot]?.add(other);
        conflicts[other]?.add(slot);
      }
    });
  });
  return { conflicts, idle };
}
