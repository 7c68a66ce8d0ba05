/**
 * One backend goes and comes back; what that may do to which connection. Pure, but for the times it
 * is told. Without a hand-over a change breaks the connections that live through it in a bucket of
 * the backend: when it goes those it had, when it comes back those that others had in its place. No
 * connection of another backend may notice either.
 */
import type { Failure, OpenedFlow } from "./load-report.ts";

type Flow = Pick<OpenedFlow, "vip" | "localPort">;

/** Unix times: asked for, and in force. */
interface Change {
  readonly fromMs: number;
  toMs: number;
}

export class Disruption {
  /** Who goes and comes back. */
  readonly backend: string;
  readonly #ownerOf: (flow: Flow) => string;
  readonly #changes: Change[] = [];

  /** `ownerOf`: whose a flow is while all backends are up. */
  constructor(backend: string, ownerOf: (flow: Flow) => string) {
    this.backend = backend;
    this.#ownerOf = ownerOf;
  }

  /** A change begins: first the backend goes, then it comes back. Returns what to call when it is in force. */
  begin(fromMs: number): (toMs: number) => void {
    const change: Change = { fromMs, toMs: Infinity };
    this.#changes.push(change);
    return (toMs) => {
      change.toMs = toMs;
    };
  }

  /** Whether a failed connection lived through a change in a bucket of the backend. */
  hadToMove(failure: Failure): boolean {
    const lived = this.#changes.some(
      ({ fromMs, toMs }) => failure.openedAtMs <= toMs && failure.atMs >= fromMs,
    );
    return lived && this.#ownerOf(failure) === this.backend;
  }

  /** Whether a connection was answered by another backend than the table says. */
  isMisplaced({ openedAtMs, atMs, vip, localPort, backend }: OpenedFlow): boolean {
    const owner = this.#ownerOf({ vip, localPort });
    if (owner !== this.backend) return backend !== owner;
    const [down, up] = this.#changes;
    const isBefore = down === undefined || atMs < down.fromMs;
    const isAfter = up !== undefined && openedAtMs > up.toMs;
    if (isBefore || isAfter) return backend !== owner;
    const isMeanwhile = openedAtMs > down.toMs && (up === undefined || atMs < up.fromMs);
    return isMeanwhile && backend === owner;
  }
}
