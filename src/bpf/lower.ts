/**
 * Fits what was written to the target: what it lacks is put in other words where there are any, and
 * refused with the author's line where there are none.
 */
import type { IrInstruction, Operation, Register } from "./ir.ts";
import { type FeatureName, type Target, TargetError } from "./target.ts";

/** @throws {TargetError} for what the target has in no words */
export function lower(
  code: readonly IrInstruction[],
  registerCount: number,
  target: Target,
): { readonly code: readonly IrInstruction[]; readonly registerCount: number } {
  let registers = registerCount;
  const fresh = (): Register => {
    registers += 1;
    return registers - 1;
  };
  const lowered = code.flatMap(({ operation, source }) => {
    const refusal = refusalOf(operation, target);
    if (refusal !== null) throw new TargetError(refusal.what, refusal.feature, source);
    const known = target.fastCalls ? operation : asPlainCall(operation);
    return target.cpuV4
      ? [{ operation: known, source }]
      : withoutV4(known, fresh).map((part) => ({ operation: part, source }));
  });
  return { code: lowered, registerCount: registers };
}

function refusalOf(
  operation: Operation,
  target: Target,
): { readonly what: string; readonly feature: FeatureName } | null {
  const refuse = (what: string, feature: FeatureName) =>
    target[feature] ? null : { what, feature };
  switch (operation.op) {
    case "alu":
      return operation.alu === "sdiv" || operation.alu === "smod"
        ? refuse("divide with signs", "cpuV4")
        : null;
    case "load":
      return operation.acquire === true ? refuse("load and acquire", "acquireRelease") : null;
    case "store":
      return operation.release === true ? refuse("store and release", "acquireRelease") : null;
    case "mayGoto":
      return refuse("bound a loop", "mayGoto");
    case "castAddress":
      return refuse("use an address in an arena", "arenas");
    case "call": {
      const name = operation.target.kind === "kfunc" ? operation.target.name : "";
      if (name.startsWith("bpf_iter_num_")) return refuse("iterate", "openCodedIterators");
      return name.startsWith("bpf_arena_") ? refuse("use pages of an arena", "arenas") : null;
    }
    default:
      return null;
  }
}

/** A fast call as one like all others, which overwrites r0 to r5. */
export function asPlainCall(operation: Operation): Operation {
  if (operation.op !== "call" || operation.target.kind === "function") return operation;
  const { fast: _, ...target } = operation.target;
  return { ...operation, target };
}

/** Sign extension as two shifts; everything else as it is. */
function withoutV4(operation: Operation, fresh: () => Register): readonly Operation[] {
  if (operation.op === "load" && operation.signed === true) {
    const { signed: _, ...load } = operation;
    if (load.size === 8) return [load];
    const loaded = fresh();
    return [{ ...load, to: loaded }, ...shifts(operation.to, loaded, load.size * 8, 8, fresh)];
  }
  if (operation.op === "extend") {
    return shifts(operation.to, operation.from, operation.bits, operation.width, fresh);
  }
  return [operation];
}

function shifts(
  to: Register,
  from: Register,
  bits: number,
  width: 4 | 8,
  fresh: () => Register,
): readonly Operation[] {
  const right = { imm: width * 8 - bits };
  const up = fresh();
  return [
    { op: "alu", to: up, alu: "lsh", left: from, right, width },
    { op: "alu", to, alu: "arsh", left: up, right, width },
  ];
}
