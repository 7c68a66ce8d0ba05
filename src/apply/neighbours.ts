/**
 * Follows the neighbours that next hops need: asks the kernel to keep them resolved (packets that XDP
 * sends do not refresh its entries) and reports every change of a MAC.
 */
import type { Rtnetlink } from "../kernel/rtnetlink.ts";
import type { Neighbour } from "../kernel/rtnetlink-neighbours.ts";
import { formatIp } from "../net/address.ts";
import { formatMac, type Mac } from "../net/mac.ts";
import {
  afterReport,
  afterTime,
  type NeighbourReport,
  type NeighbourView,
  unknownNeighbour,
} from "../plan/neighbour-view.ts";
import type { NextHopId } from "./next-hop-records.ts";

/** How often failures are judged; changes of MAC are events and do not wait for it. */
const TICK_MS = 100;
/** How often an unresolved neighbour is asked for again. */
const ASK_AGAIN_MS = 1000;

export interface NeighbourDeps {
  readonly rtnetlink: Rtnetlink;
  readonly nowMs: () => number;
  /** Called with `null` when a neighbour is lost. */
  readonly onChange: (nextHop: NextHopId, mac: Mac | null) => void;
  /** A neighbour the kernel will not follow; it stays unresolved. */
  readonly onError: (nextHop: NextHopId, error: Error) => void;
}

interface Followed {
  readonly id: NextHopId;
  view: NeighbourView;
  askedMs: number;
}

export class Neighbours {
  readonly #deps: NeighbourDeps;
  readonly #followed = new Map<string, Followed>();
  readonly #timer: NodeJS.Timeout;

  constructor(deps: NeighbourDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /** Begins to follow a neighbour; returns its MAC if the kernel knows it already. */
  follow(id: NextHopId): Mac | null {
    const key = keyOf(id);
    const known = this.#followed.get(key);
    if (known !== undefined) return known.view.mac;
    const followed: Followed = { id, view: unknownNeighbour(this.#deps.nowMs()), askedMs: 0 };
    this.#followed.set(key, followed);
    this.#read(followed);
    this.#ask(followed);
    return followed.view.mac;
  }

  /** Stops following all others. The kernel goes on keeping them until their entries are deleted. */
  retain(ids: readonly NextHopId[]): void {
    const wanted = new Set(ids.map(keyOf));
    for (const key of this.#followed.keys()) if (!wanted.has(key)) this.#followed.delete(key);
  }

  /** To be called with every neighbour event. */
  onEvent(change: "new" | "delete", neighbour: Neighbour): void {
    const followed = this.#followed.get(
      keyOf({ ifindex: neighbour.ifindex, neighbour: neighbour.address }),
    );
    if (followed === undefined) return;
    this.#report(
      followed,
      change === "delete"
        ? { kind: "gone" }
        : { kind: "entry", state: neighbour.state, mac: neighbour.mac },
    );
    // A deleted entry is no longer kept resolved.
    if (change === "delete") this.#ask(followed);
  }

  /** To be called when events were lost. */
  readAgain(): void {
    for (const followed of this.#followed.values()) this.#read(followed);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const nowMs = this.#deps.nowMs();
    for (const followed of this.#followed.values()) {
      this.#update(followed, afterTime(followed.view, nowMs));
      if (followed.view.failingSinceMs !== null && nowMs - followed.askedMs >= ASK_AGAIN_MS) {
        this.#ask(followed);
      }
    }
  }

  #read(followed: Followed): void {
    const { ifindex, neighbour } = followed.id;
    const entry = this.#deps.rtnetlink.neighbour(ifindex, neighbour);
    this.#report(
      followed,
      entry === undefined
        ? { kind: "gone" }
        : { kind: "entry", state: entry.state, mac: entry.mac },
    );
  }

  #ask(followed: Followed): void {
    if (followed.view.fixed) return;
    const { ifindex, neighbour } = followed.id;
    followed.askedMs = this.#deps.nowMs();
    try {
      this.#deps.rtnetlink.keepNeighbour(ifindex, neighbour);
    } catch (error) {
      this.#deps.onError(followed.id, error as Error);
    }
  }

  #report(followed: Followed, report: NeighbourReport): void {
    this.#update(followed, afterReport(followed.view, report, this.#deps.nowMs()));
  }

  #update(followed: Followed, view: NeighbourView): void {
    const before = followed.view.mac;
    followed.view = view;
    if (textOf(before) !== textOf(view.mac)) this.#deps.onChange(followed.id, view.mac);
  }
}

const keyOf = ({ ifindex, neighbour }: NextHopId): string => `${ifindex} ${formatIp(neighbour)}`;
const textOf = (mac: Mac | null): string => (mac === null ? "" : formatMac(mac));
