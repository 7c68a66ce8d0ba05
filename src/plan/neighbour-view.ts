/**
 * What we believe of a neighbour, from what the kernel reports. Pure: report and time in, belief out.
 *
 * A failure is not believed at once: a flush reports one before it deletes the entry, and the next
 * answer comes milliseconds later. Until `FAILURE_BELIEVED_AFTER_MS` the last MAC stays in use.
 */
import type { NeighbourState } from "../kernel/rtnetlink-neighbours.ts";
import type { Mac } from "../net/mac.ts";

export const FAILURE_BELIEVED_AFTER_MS = 500;

export interface NeighbourView {
  readonly mac: Mac | null;
  /** Set by an operator and never resolved by the kernel: asking for it would throw the entry away. */
  readonly fixed: boolean;
  /** When the kernel began to report a failure; `null` while it does not. */
  readonly failingSinceMs: number | null;
}

/** What the kernel says: an entry's state and MAC, or that there is no entry. */
export type NeighbourReport =
  | { readonly kind: "entry"; readonly state: NeighbourState; readonly mac: Mac | null }
  | { readonly kind: "gone" };

export const unknownNeighbour = (nowMs: number): NeighbourView => ({
  mac: null,
  fixed: false,
  failingSinceMs: nowMs,
});

/** The view after a report. */
export function afterReport(
  view: NeighbourView,
  report: NeighbourReport,
  nowMs: number,
): NeighbourView {
  if (report.kind === "entry" && report.mac !== null && isUsable(report.state)) {
    const fixed = report.state === "permanent" || report.state === "noarp";
    return { mac: report.mac, fixed, failingSinceMs: null };
  }
  return { mac: view.mac, fixed: false, failingSinceMs: view.failingSinceMs ?? nowMs };
}

/** The view after time has passed: a failure that lasted takes the MAC away. */
export function afterTime(view: NeighbourView, nowMs: number): NeighbourView {
  const { failingSinceMs, mac } = view;
  if (mac === null || failingSinceMs === null) return view;
  return nowMs - failingSinceMs >= FAILURE_BELIEVED_AFTER_MS ? { ...view, mac: null } : view;
}

function isUsable(state: NeighbourState): boolean {
  switch (state) {
    case "reachable":
    case "stale":
    case "delay":
    case "probe":
    case "noarp":
    case "permanent":
      return true;
    case "none":
    case "incomplete":
    case "failed":
      return false;
  }
}
