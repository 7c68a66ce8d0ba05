/** Timers in map values (`bpfTimer` in their layout): a function of the program called later (Linux 5.15). */
import type { FunctionBuilder } from "./function.ts";
import { Helper } from "./helpers.ts";
import type { MapSpec } from "./image.ts";
import type { FunctionIr } from "./ir.ts";
import type { Scalar, Value } from "./value.ts";
import type { BytesPlace } from "./view.ts";

const CLOCK_MONOTONIC = 1;

/**
 * Sets the timer in a value of `map` up, once: the result is 0, or negative (-EBUSY) when it is.
 * `callback` takes the map, its key and its value, and returns 0.
 */
export function setUpTimer(
  f: FunctionBuilder,
  map: MapSpec,
  timer: BytesPlace,
  callback: FunctionIr,
): Value {
  const result = f.call(Helper.timerInit, timer.pointer, f.map(map), CLOCK_MONOTONIC);
  f.if(result.eq(0), () =>
    f.call(Helper.timerSetCallback, timer.pointer, f.functionAddress(callback)),
  );
  return result;
}

/** Has the timer call back in `ns` nanoseconds; anew when it was started before. */
export const startTimer = (f: FunctionBuilder, timer: BytesPlace, ns: Scalar): Value =>
  f.call(Helper.timerStart, timer.pointer, ns, 0);

/** Stops the timer; the result is 1 when it was started. */
export const cancelTimer = (f: FunctionBuilder, timer: BytesPlace): Value =>
  f.call(Helper.timerCancel, timer.pointer);
