/**
 * Keeps what lives across fast calls in r1 to r5 (LLVM's "bpf_fastcall"): stored right before the
 * call, loaded right after.
 *
 *     *(u64 *)(r10 -24) = r5      The pairs lie below all else the function stores in its frame, the
 *     *(u64 *)(r10 -32) = r4      innermost lowest: by that the verifier knows them, checks that
 *     call                        nothing else touches their places, and takes them out where it
 *     r4 = *(u64 *)(r10 -32)      puts the call in place (mark_fastcall_pattern_for_call() in
 *     r5 = *(u64 *)(r10 -24)      kernel/bpf/verifier.c). Where it does not, they do as written.
 */
import { clobbersOf, isFast } from "./clobbers.ts";
import { definedBy, type IrInstruction, type KeptRegister } from "./ir.ts";
import { livenessOf, stepBack } from "./liveness.ts";

/** r1 to r5. */
const CALLER_SAVED = 0b11_1110;

/** Says of each fast call what it keeps, and where below the `stackBytes` already taken. */
export function keepAcross(
  code: readonly IrInstruction[],
  physical: Int8Array,
  stackBytes: number,
): {
  readonly code: readonly IrInstruction[];
  readonly stackBytes: number;
  /** Registers, summed over calls. */
  readonly kept: number;
} {
  const registers = livingAcross(code, physical);
  const most = Math.max(0, ...[...registers.values()].map(({ length }) => length));
  if (most === 0) return { code, stackBytes, kept: 0 };
  const lowest = -(stackBytes + most * 8);
  const kept = code.map(({ operation, source }, at): IrInstruction => {
    const across = registers.get(at);
    if (across === undefined || operation.op !== "call") return { operation, source };
    const places = across.map(
      (register, index): KeptRegister => ({ register, offset: lowest + index * 8 }),
    );
    return { operation: { ...operation, kept: places }, source };
  });
  const sum = [...registers.values()].reduce((total, { length }) => total + length, 0);
  return { code: kept, stackBytes: -lowest, kept: sum };
}

/** Physical registers that live across each fast call and that others would overwrite, by its index. */
function livingAcross(
  code: readonly IrInstruction[],
  physical: Int8Array,
): ReadonlyMap<number, readonly number[]> {
  const across = new Map<number, readonly number[]>();
  if (!code.some(({ operation }) => isFast(operation))) return across;
  const { blocks, liveOut } = livenessOf(code);
  blocks.forEach((block, index) => {
    const live = new Set(liveOut[index]);
    for (let at = block.end - 1; at >= block.start; at -= 1) {
      const instruction = code[at] as IrInstruction;
      const { operation } = instruction;
      if (isFast(operation)) {
        let mask = 0;
        for (const register of live) {
          if (register !== definedBy(operation)) mask |= 1 << (physical[register] ?? 0);
        }
        mask &= CALLER_SAVED & ~clobbersOf(operation);
        const registers = [5, 4, 3, 2, 1].filter((register) => (mask & (1 << register)) !== 0);
        if (registers.length > 0) across.set(at, registers);
      }
      stepBack(live, instruction);
    }
  });
  return across;
}
