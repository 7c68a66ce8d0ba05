/**
 * Interfaces, addresses, routes and neighbours of one network namespace: that of the thread when the
 * socket was opened (`inNetns`). Every call is synchronous and answered by the kernel at once; a dump
 * of ten thousand entries takes tens of milliseconds. The messages are in the `rtnetlink-*` files,
 * changes made by others come through `rtnetlink-events.ts`.
 */
import { formatIp } from "../net/address.ts";
import type { IpAddress } from "../net/address.ts";
import type { NetlinkRequest } from "./netlink.ts";
import { Netlink, NetlinkError } from "./netlink.ts";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "./netlink-message.ts";
import type { InterfaceAddress, NewAddress } from "./rtnetlink-addresses.ts";
import * as addresses from "./rtnetlink-addresses.ts";
import type { Link, LinkChange, NewLink } from "./rtnetlink-links.ts";
import * as links from "./rtnetlink-links.ts";
import type { Neighbour, NewNeighbour } from "./rtnetlink-neighbours.ts";
import * as neighbours from "./rtnetlink-neighbours.ts";
import type { NewRoute, Prefix, Route, RouteDecision, RouteQuery } from "./rtnetlink-routes.ts";
import * as routes from "./rtnetlink-routes.ts";

const CREATE = NLM_F_CREATE | NLM_F_EXCL;
const PUT = NLM_F_CREATE | NLM_F_REPLACE;

/** All methods throw `NetlinkError` when the kernel refuses; only what else they throw is noted. */
export class Rtnetlink {
  readonly #netlink: Netlink;

  private constructor(netlink: Netlink) {
    this.#netlink = netlink;
  }

  /** @throws {SystemError} when there is no socket to be had */
  static open(): Rtnetlink {
    return new Rtnetlink(Netlink.open());
  }

  close(): void {
    this.#netlink.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  links(): Link[] {
    return this.#netlink
      .dump({ intent: "list links", type: links.RTM_GETLINK, payload: links.encodeLinkDump() })
      .map(({ payload }) => links.decodeLink(payload));
  }

  /** A link by name or ifindex; `undefined` when there is none. */
  link(link: string | number): Link | undefined {
    const payload = links.encodeLinkReference(link);
    const request = { intent: `read link ${quote(link)}`, type: links.RTM_GETLINK, payload };
    const message = this.#find(request, "ENODEV");
    return message && links.decodeLink(message.payload);
  }

  setLink(ifindex: number, change: LinkChange): void {
    const payload = links.encodeLinkChange(ifindex, change);
    this.#netlink.change({ intent: `change link ${ifindex}`, type: links.RTM_NEWLINK, payload });
  }

  deleteLink(link: string | number): void {
    const payload = links.encodeLinkReference(link);
    this.#netlink.change({
      intent: `delete link ${quote(link)}`,
      type: links.RTM_DELLINK,
      payload,
    });
  }

  /** Makes a veth pair, each end directly in its namespace and down. */
  createVeth(end: NewLink, peer: NewLink): void {
    const intent = `create veth pair "${end.name}" and "${peer.name}"`;
    const payload = links.encodeVeth(end, peer);
    this.#netlink.change({ intent, type: links.RTM_NEWLINK, flags: CREATE, payload });
  }

  /** Makes a bridge, down; links join it by `setLink(ifindex, { master })`. */
  createBridge(bridge: NewLink): void {
    const intent = `create bridge "${bridge.name}"`;
    const payload = links.encodeBridge(bridge);
    this.#netlink.change({ intent, type: links.RTM_NEWLINK, flags: CREATE, payload });
  }

  addresses(family: 0 | 4 | 6 = 0): InterfaceAddress[] {
    const payload = addresses.encodeAddressDump(family);
    return this.#netlink
      .dump({ intent: "list addresses", type: addresses.RTM_GETADDR, payload })
      .map((message) => addresses.decodeAddress(message.payload));
  }

  /** EEXIST when the interface has it already. */
  addAddress(address: NewAddress): void {
    const intent = `add address ${describeAddress(address)}`;
    const payload = addresses.encodeAddress(address);
    this.#netlink.change({ intent, type: addresses.RTM_NEWADDR, flags: CREATE, payload });
  }

  /** EADDRNOTAVAIL when the interface does not have it. */
  deleteAddress(address: NewAddress): void {
    const intent = `delete address ${describeAddress(address)}`;
    const payload = addresses.encodeAddress(address);
    this.#netlink.change({ intent, type: addresses.RTM_DELADDR, payload });
  }

  /** The routes of one table (main by default), both families. */
  routes(table: number = routes.RT_TABLE_MAIN): Route[] {
    return ([4, 6] as const).flatMap((family) => this.#routesOf(family, table));
  }

  /** Where the kernel would send a packet to `address` now, by rules, routes and learned path MTUs. */
  route(address: IpAddress, query: RouteQuery = {}): RouteDecision {
    const intent = `look up the route to ${formatIp(address)}`;
    const payload = routes.encodeRouteQuery(address, query);
    try {
      const message = this.#netlink.get({ intent, type: routes.RTM_GETROUTE, payload });
      return routes.decodeRouteDecision(message.payload);
    } catch (error) {
      // With an explanation the request itself was at fault.
      if (!(error instanceof NetlinkError) || error.explanation !== null) throw error;
      const decision = routes.decisionOfError(error.code);
      if (decision === undefined) throw error;
      return decision;
    }
  }

  /** EEXIST when there is one for the prefix, metric and table. */
  addRoute(route: NewRoute): void {
    this.#putRoute("add", route, CREATE);
  }

  /** Adds, or replaces the one for the prefix, metric and table. */
  replaceRoute(route: NewRoute): void {
    this.#putRoute("replace", route, PUT);
  }

  /** Deletes the first route that has all that is given. ESRCH when there is none. */
  deleteRoute(route: NewRoute): void {
    const intent = `delete route ${formatPrefix(route.destination)}`;
    const payload = routes.encodeRoute(route, "delete");
    this.#netlink.change({ intent, type: routes.RTM_DELROUTE, payload });
  }

  /** ARP and ND entries; not a bridge's forwarding table. */
  neighbours(family: 0 | 4 | 6 = 0): Neighbour[] {
    const payload = neighbours.encodeNeighbourDump(family);
    return this.#netlink
      .dump({ intent: "list neighbours", type: neighbours.RTM_GETNEIGH, payload })
      .filter((message) => neighbours.isIpNeighbour(message.payload))
      .map((message) => neighbours.decodeNeighbour(message.payload));
  }

  /** `undefined` when the kernel has no entry. */
  neighbour(ifindex: number, address: IpAddress): Neighbour | undefined {
    const intent = `read neighbour ${describeNeighbour(ifindex, address)}`;
    const payload = neighbours.encodeNeighbourReference(ifindex, address);
    const message = this.#find({ intent, type: neighbours.RTM_GETNEIGH, payload }, "ENOENT");
    return message && neighbours.decodeNeighbour(message.payload);
  }

  /** Adds or replaces an entry, permanent unless told otherwise. */
  setNeighbour(neighbour: NewNeighbour): void {
    const intent = `set neighbour ${describeNeighbour(neighbour.ifindex, neighbour.address)}`;
    const payload = neighbours.encodeNeighbour(neighbour);
    this.#netlink.change({ intent, type: neighbours.RTM_NEWNEIGH, flags: PUT, payload });
  }

  /** Makes the kernel ask (ARP, ND) unless it knows a fresh answer. The result comes as an event. */
  resolveNeighbour(ifindex: number, address: IpAddress): void {
    const intent = `resolve neighbour ${describeNeighbour(ifindex, address)}`;
    const payload = neighbours.encodeResolution(ifindex, address);
    this.#netlink.change({ intent, type: neighbours.RTM_NEWNEIGH, flags: NLM_F_CREATE, payload });
  }

  /**
   * Makes the kernel resolve the address and keep it resolved until `releaseNeighbour`. The entry says
   * that `protocol` (1 to 255, as of routes) asked; one that another keeps already goes on saying so.
   * @throws {Error} when the kernel is older than 5.16 and ignores the flag
   */
  keepNeighbour(ifindex: number, address: IpAddress, protocol: number): void {
    const intent = `keep neighbour ${describeNeighbour(ifindex, address)} resolved`;
    const anothers = this.neighbour(ifindex, address)?.managed === true ? 0 : protocol;
    const payload = neighbours.encodeKeeping(ifindex, address, anothers);
    this.#netlink.change({ intent, type: neighbours.RTM_NEWNEIGH, flags: NLM_F_CREATE, payload });
    if (this.neighbour(ifindex, address)?.managed !== true) {
      throw new Error(`Cannot ${intent}: NTF_EXT_MANAGED needs kernel >= 5.16`);
    }
  }

  /**
   * Gives back an entry that `protocol` keeps: it stays, is used and ages as any other. Does nothing to
   * one that is not there, that nobody keeps, or that another does. Returns whether it was given back.
   */
  releaseNeighbour(ifindex: number, address: IpAddress, protocol: number): boolean {
    const entry = this.neighbour(ifindex, address);
    if (entry?.managed !== true || entry.protocol !== protocol) return false;
    const intent = `release neighbour ${describeNeighbour(ifindex, address)}`;
    // A change without NTF_EXT_MANAGED clears it (neigh_update_flags in net/core/neighbour.c), and with
    // NTF_USE it leaves state and MAC as they are.
    const payload = neighbours.encodeResolution(ifindex, address);
    this.#netlink.change({ intent, type: neighbours.RTM_NEWNEIGH, payload });
    return true;
  }

  deleteNeighbour(ifindex: number, address: IpAddress): void {
    const intent = `delete neighbour ${describeNeighbour(ifindex, address)}`;
    const payload = neighbours.encodeNeighbourReference(ifindex, address);
    this.#netlink.change({ intent, type: neighbours.RTM_DELNEIGH, payload });
  }

  #routesOf(family: 4 | 6, table: number): Route[] {
    const intent = `list routes of table ${table}`;
    const payload = routes.encodeRouteDump(family, table);
    let messages;
    try {
      messages = this.#netlink.dump({ intent, type: routes.RTM_GETROUTE, payload });
    } catch (error) {
      // With strict checking the kernel says ENOENT of a table that holds nothing yet.
      if (error instanceof NetlinkError && error.code === "ENOENT") return [];
      throw error;
    }
    // Kernels before 4.20 know no filter and send all tables.
    return messages
      .filter(({ payload }) => !routes.isCachedRoute(payload))
      .map(({ payload }) => routes.decodeRoute(payload))
      .filter((route) => route.table === table);
  }

  #putRoute(verb: "add" | "replace", route: NewRoute, flags: number): void {
    const intent = `${verb} route ${formatPrefix(route.destination)}`;
    const payload = routes.encodeRoute(route, "add");
    this.#netlink.change({ intent, type: routes.RTM_NEWROUTE, flags, payload });
  }

  #find(request: NetlinkRequest, absent: string): { readonly payload: Uint8Array } | undefined {
    try {
      return this.#netlink.get(request);
    } catch (error) {
      if (error instanceof NetlinkError && error.code === absent) return undefined;
      throw error;
    }
  }
}

export const formatPrefix = ({ address, length }: Prefix): string =>
  `${formatIp(address)}/${length}`;

const describeAddress = ({ ifindex, address, prefixLength }: NewAddress): string =>
  `${formatPrefix({ address, length: prefixLength })} on interface ${ifindex}`;

const describeNeighbour = (ifindex: number, address: IpAddress): string =>
  `${formatIp(address)} on interface ${ifindex}`;

const quote = (link: string | number): string =>
  typeof link === "string" ? `"${link}"` : `${link}`;
