/**
 * What changes in a network namespace, as typed events: links, addresses, routes, policy rules and
 * neighbours of both families, made by us or by others. The socket belongs to the namespace it was opened in.
 *
 * Events are facts about a moment. After `lost` some are missing: read everything anew (`Rtnetlink`)
 * and go on; the socket stays usable.
 */
import { watchReadable } from "./libc.ts";
import { Netlink } from "./netlink.ts";
import type { NetlinkMessage } from "./netlink-message.ts";
import type { InterfaceAddress } from "./rtnetlink-addresses.ts";
import * as addresses from "./rtnetlink-addresses.ts";
import type { Link } from "./rtnetlink-links.ts";
import * as links from "./rtnetlink-links.ts";
import type { Neighbour } from "./rtnetlink-neighbours.ts";
import * as neighbours from "./rtnetlink-neighbours.ts";
import type { Route } from "./rtnetlink-routes.ts";
import * as routes from "./rtnetlink-routes.ts";
import * as rules from "./rtnetlink-rules.ts";

type Change = "new" | "delete";

export type RtnetlinkEvent =
  | { readonly kind: "link"; readonly change: Change; readonly link: Link }
  | { readonly kind: "address"; readonly change: Change; readonly address: InterfaceAddress }
  | { readonly kind: "route"; readonly change: Change; readonly route: Route }
  | { readonly kind: "neighbour"; readonly change: Change; readonly neighbour: Neighbour }
  /** A policy rule or a next hop object: where packets go may be another way now. */
  | { readonly kind: "rule"; readonly change: Change }
  | { readonly kind: "lost" };

const GROUPS = [
  links.RTNLGRP_LINK,
  neighbours.RTNLGRP_NEIGH,
  addresses.RTNLGRP_IPV4_IFADDR,
  addresses.RTNLGRP_IPV6_IFADDR,
  routes.RTNLGRP_IPV4_ROUTE,
  routes.RTNLGRP_IPV6_ROUTE,
  rules.RTNLGRP_IPV4_RULE,
  rules.RTNLGRP_IPV6_RULE,
  rules.RTNLGRP_NEXTHOP,
];

// A full BGP table arriving while we are busy fills the default 208 KiB at once.
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
// The event loop gets a turn between batches; the socket stays readable.
const DATAGRAMS_PER_TURN = 128;

/** A subscription. Keeps the process alive until closed. */
export class RtnetlinkEvents {
  readonly #netlink: Netlink;
  readonly #watch: { close(): void };
  #closed = false;

  private constructor(netlink: Netlink, onEvent: (event: RtnetlinkEvent) => void) {
    this.#netlink = netlink;
    this.#watch = watchReadable(netlink.fd, () => this.#drain(onEvent));
  }

  /**
   * Calls `onEvent` from the event loop, in the kernel's order.
   * @throws {SystemError} when there is no socket to be had
   */
  static open(
    onEvent: (event: RtnetlinkEvent) => void,
    options: { readonly receiveBufferBytes?: number } = {},
  ): RtnetlinkEvents {
    const receiveBufferBytes = options.receiveBufferBytes ?? RECEIVE_BUFFER_BYTES;
    return new RtnetlinkEvents(Netlink.open({ groups: GROUPS, receiveBufferBytes }), onEvent);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    this.#netlink.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #drain(onEvent: (event: RtnetlinkEvent) => void): void {
    if (this.#closed) return;
    const { messages, lost } = this.#netlink.receiveEvents(DATAGRAMS_PER_TURN);
    if (lost) onEvent({ kind: "lost" });
    for (const message of messages) {
      if (this.#closed) return;
      const event = decodeEvent(message);
      if (event !== undefined) onEvent(event);
    }
  }
}

/**
 * The event a message tells; `undefined` for what nobody asked for (bridge entries, cached routes).
 * @throws {NetlinkDecodeError}
 */
export function decodeEvent({ type, payload }: NetlinkMessage): RtnetlinkEvent | undefined {
  switch (type) {
    case links.RTM_NEWLINK:
    case links.RTM_DELLINK:
      if (!links.isPlainLink(payload)) return undefined;
      return {
        kind: "link",
        change: changeOf(type, links.RTM_NEWLINK),
        link: links.decodeLink(payload),
      };
    case addresses.RTM_NEWADDR:
    case addresses.RTM_DELADDR:
      return {
        kind: "address",
        change: changeOf(type, addresses.RTM_NEWADDR),
        address: addresses.decodeAddress(payload),
      };
    case routes.RTM_NEWROUTE:
    case routes.RTM_DELROUTE:
      if (routes.isCachedRoute(payload)) return undefined;
      return {
        kind: "route",
        change: changeOf(type, routes.RTM_NEWROUTE),
        route: routes.decodeRoute(payload),
      };
    case neighbours.RTM_NEWNEIGH:
    case neighbours.RTM_DELNEIGH:
      if (!neighbours.isIpNeighbour(payload)) return undefined;
      return {
        kind: "neighbour",
        change: changeOf(type, neighbours.RTM_NEWNEIGH),
        neighbour: neighbours.decodeNeighbour(payload),
      };
    case rules.RTM_NEWRULE:
    case rules.RTM_DELRULE:
      return { kind: "rule", change: changeOf(type, rules.RTM_NEWRULE) };
    case rules.RTM_NEWNEXTHOP:
    case rules.RTM_DELNEXTHOP:
      return { kind: "rule", change: changeOf(type, rules.RTM_NEWNEXTHOP) };
    default:
      return undefined;
  }
}

const changeOf = (type: number, added: number): Change => (type === added ? "new" : "delete");
