/** Physical registers that an operation overwrites besides the one it defines: a bit for each. */
import type { Operation } from "./ir.ts";

const R0 = 0b1;
/** r0 to r5: to the verifier every call overwrites these, however many arguments it takes. */
const CALLER_SAVED = 0b11_1111;

/**
 * A fast call overwrites r0 and its arguments, and what else lives in r1 to r5 is stored and loaded
 * around it, in a pattern that the kernel takes out (`fast-calls.ts`).
 */
export function clobbersOf(operation: Operation): number {
  switch (operation.op) {
    case "call":
      return isFast(operation) ? (R0 << (operation.args.length + 1)) - 1 : CALLER_SAVED;
    case "packetLoad":
      return CALLER_SAVED;
    case "compareExchange":
      return R0;
    default:
      return 0;
  }
}

/** Whether all that lives across it must live in r6 to r9. */
export const clobbersAll = (operation: Operation): boolean =>
  clobbersOf(operation) === CALLER_SAVED;

export const isFast = (operation: Operation): boolean =>
  operation.op === "call" && operation.target.kind !== "function" && operation.target.fast === true;
