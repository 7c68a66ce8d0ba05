/** Whether one more error may be sent: the generic cell rate algorithm, see `Limits`. */
import type { Exit } from "../../bpf/function.ts";
import { Helper } from "../../bpf/helpers.ts";
import { Limits } from "../layout.ts";
import type { Director } from "./context.ts";

/**
 * Goes on when one may. Two processors may count one for two: the limit is there for a flood, not
 * for the number.
 */
export function emitRequireAllowed({ p, variant }: Director, refused: Exit): void {
  const limits = p.mapValue(variant.maps.limits).as(Limits);
  const now = p.variable(limits.clock, 8);
  p.if(now.eq(0), () => now.set(p.call(Helper.ktimeGetNs)));
  const due = p.variable(limits.timeExceeded, 8);
  p.require(due.le(now.add(limits.burst)), refused);
  p.if(due.lt(now), () => due.set(now));
  limits.timeExceeded.set(due.add(limits.interval));
}
