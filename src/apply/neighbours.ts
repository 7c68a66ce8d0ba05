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

/**
 * Says in the kernel's table which entries we keep (`ip neigh show proto 202`), so that a teardown finds
 * them whatever became of the daemon. A number that neither the kernel's RTPROT_… in
 * include/uapi/linux/rtnetlink.h nor iproute2's rt_protos gives to another.
 */
export const RTPROT_CAROM = 202;

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

  /** Stops following all others, and gives them back to the kernel. */
  retain(ids: readonly NextHopId[]): void {
    const wanted = new Set(ids.map(keyOf));
    for (const [key, followed] of this.#followed) {
      if (wanted.has(key)) continue;
      this.#followed.delete(key);
      this.#giveBack(followed);
    }
  }

  /** Stops following and gives back all. */
  release(): void {
    this.retain([]);
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
    // A deleted entry is no longer kept resolved, nor one that somebody else changed or gave back.
    if (change === "delete" || !neighbour.managed) this.#ask(followed);
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
      this.#deps.rtnetlink.keepNeighbour(ifindex, neighbour, RTPROT_CAROM);
    } catch (error) {
      this.#deps.onError(followed.id, error as Error);
    }
  }

  #giveBack({ id }: Followed): void {
    try {
      this.#deps.rtnetlink.releaseNeighbour(id.ifindex, id.neighbour, RTPROT_CAROM);
    } catch (error) {
      this.#deps.onError(id, error as Error);
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

/**
 * Gives back every neighbour that any director in this network namespace keeps, also one that is gone.
 * A director that runs takes its own again at once. Returns which.
 * @throws {NetlinkError} when the kernel refuses
 */
export function releaseAllNeighbours(rtnetlink: Rtnetlink): readonly NextHopId[] {
  return rtnetlink
    .neighbours()
    .filter(({ ifindex, address }) => rtnetlink.releaseNeighbour(ifindex, address, RTPROT_CAROM))
    .map(({ ifindex, address }) => ({ ifindex, neighbour: address }));
}

const keyOf = ({ ifindex, neighbour }: NextHopId): string => `${ifindex} ${formatIp(neighbour)}`;
const textOf = (mac: Mac | null): string => (mac === null ? "" : formatMac(mac));
