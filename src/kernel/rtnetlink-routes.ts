/** Routes in rtnetlink (include/uapi/linux/rtnetlink.h): the list, and what the kernel decides for one address. */
import { struct, u16, u32, u8 } from "../bpf/layout.ts";
import type { IpAddress } from "../net/address.ts";
import type { Attribute, Attributes } from "./netlink-message.ts";
import {
  decodeAttributes,
  decodePayload,
  encodePayload,
  ipOf,
  NetlinkDecodeError,
  nestedAttribute,
  nestedOf,
  readHeader,
  toIp,
  u32Attribute,
  u32Of,
} from "./netlink-message.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTNLGRP_IPV4_ROUTE = 7;
export const RTNLGRP_IPV6_ROUTE = 11;

/** The table that `ip route` shows. */
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
const RT_TABLE_UNSPEC = 0;
const RTPROT_STATIC = 4;
const RTM_F_CLONED = 0x200;

const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_MARK = 16;
const RTA_VIA = 18;
const RTAX_MTU = 2;

const AF_INET = 2;
const AF_INET6 = 10;

const Header = struct("rtmsg", {
  family: u8,
  destinationLength: u8,
  sourceLength: u8,
  tos: u8,
  table: u8,
  protocol: u8,
  scope: u8,
  type: u8,
  flags: u32,
});
const NextHopHeader = struct("rtnexthop", { length: u16, flags: u8, hops: u8, ifindex: u32 });
const ViaHeader = struct("rtvia", { family: u16 });

const routeTypes = {
  unspecified: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
  nat: 10,
} as const;
export type RouteType = keyof typeof routeTypes;

const scopes = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
/** Named scopes; others as their number. */
export type RouteScope = keyof typeof scopes | number;

export interface Prefix {
  readonly address: IpAddress;
  readonly length: number;
}

export interface NextHop {
  readonly ifindex: number;
  /** `null`: directly on the link. May be IPv6 for an IPv4 route (RTA_VIA). */
  readonly gateway: IpAddress | null;
  /** 1 to 256, its share among several. */
  readonly weight: number;
}

export interface Route {
  readonly destination: Prefix;
  readonly table: number;
  readonly type: RouteType;
  readonly scope: RouteScope;
  /** Who made it: 2 kernel, 3 boot, 4 static, 16 router advertisement … (rtm_protocol). */
  readonly protocol: number;
  /** Lower wins. */
  readonly metric: number;
  /** Empty for types that go nowhere. */
  readonly nextHops: readonly NextHop[];
  readonly preferredSource: IpAddress | null;
  /** The route's own MTU, `null` when the interface's counts. */
  readonly mtu: number | null;
}

/** What the kernel would do with a packet to one address now. */
export interface RouteDecision {
  readonly type: RouteType;
  /** `null` when the packet goes nowhere. */
  readonly ifindex: number | null;
  /** `null`: the address itself is on the link. */
  readonly gateway: IpAddress | null;
  readonly source: IpAddress | null;
  /** Of the route or learned for the path; `null` when the interface's counts. */
  readonly mtu: number | null;
}

/** What else the decision may depend on. */
export interface RouteQuery {
  readonly source?: IpAddress;
  /** The interface the packet must leave by. */
  readonly ifindex?: number;
  /** The firewall mark (SO_MARK). */
  readonly mark?: number;
}

/** A route to add or delete. Without next hops it is of a type that goes nowhere, or deletes by prefix. */
export interface NewRoute {
  readonly destination: Prefix;
  readonly nextHops?: readonly {
    readonly ifindex?: number;
    readonly gateway?: IpAddress;
    readonly weight?: number;
  }[];
  readonly type?: RouteType;
  readonly scope?: RouteScope;
  readonly table?: number;
  readonly protocol?: number;
  readonly metric?: number;
  readonly preferredSource?: IpAddress;
  readonly mtu?: number;
}

/** @throws {NetlinkDecodeError} */
export function decodeRoute(payload: Uint8Array): Route {
  const { header, attributes } = decodePayload(Header, payload);
  const family = header.family === AF_INET ? 4 : 6;
  const address = ipOf(attributes, RTA_DST) ?? unspecified(family);
  return {
    destination: { address, length: header.destinationLength },
    table: u32Of(attributes, RTA_TABLE) ?? header.table,
    type: routeTypeName(header.type),
    scope: scopeName(header.scope),
    protocol: header.protocol,
    metric: u32Of(attributes, RTA_PRIORITY) ?? 0,
    nextHops: decodeNextHops(attributes),
    preferredSource: ipOf(attributes, RTA_PREFSRC) ?? null,
    mtu: decodeMtu(attributes),
  };
}

/** Cached decisions that IPv6 lists among the routes are no configuration. @throws {NetlinkDecodeError} */
export const isCachedRoute = (payload: Uint8Array): boolean =>
  (readHeader(Header, payload, 0).flags & RTM_F_CLONED) !== 0;

/** Decodes the answer to `encodeRouteQuery`. @throws {NetlinkDecodeError} */
export function decodeRouteDecision(payload: Uint8Array): RouteDecision {
  const { header, attributes } = decodePayload(Header, payload);
  const [hop] = decodeNextHops(attributes);
  return {
    type: routeTypeName(header.type),
    ifindex: hop?.ifindex ?? null,
    gateway: hop?.gateway ?? null,
    source: ipOf(attributes, RTA_PREFSRC) ?? null,
    mtu: decodeMtu(attributes),
  };
}

/** IPv4 answers with an error where IPv6 answers with a route of that type (fib_props in net/ipv4/fib_semantics.c). */
export function decisionOfError(code: string): RouteDecision | undefined {
  const type = (
    {
      ENETUNREACH: "unreachable",
      EHOSTUNREACH: "unreachable",
      EACCES: "prohibit",
      EINVAL: "blackhole",
    } as const
  )[code];
  return type === undefined
    ? undefined
    : { type, ifindex: null, gateway: null, source: null, mtu: null };
}

export function encodeRouteQuery(address: IpAddress, query: RouteQuery): Uint8Array {
  const { source, ifindex, mark } = query;
  const bits = address.bytes.length * 8;
  const header = Header.encode({
    family: addressFamily(address.family),
    destinationLength: bits,
    sourceLength: source === undefined ? 0 : bits,
  });
  const attributes: Attribute[] = [{ type: RTA_DST, value: address.bytes }];
  if (source !== undefined) attributes.push({ type: RTA_SRC, value: source.bytes });
  if (ifindex !== undefined) attributes.push(u32Attribute(RTA_OIF, ifindex));
  if (mark !== undefined) attributes.push(u32Attribute(RTA_MARK, mark));
  return encodePayload(header, attributes);
}

export const encodeRouteDump = (family: 4 | 6, table: number): Uint8Array =>
  encodePayload(Header.encode({ family: addressFamily(family) }), [u32Attribute(RTA_TABLE, table)]);

/** To delete, what is not given matches anything (fib_table_delete in net/ipv4/fib_trie.c). */
export function encodeRoute(route: NewRoute, use: "add" | "delete"): Uint8Array {
  const { destination, nextHops = [], preferredSource, metric, mtu } = route;
  const table = route.table ?? RT_TABLE_MAIN;
  const family = destination.address.family;
  const direct = nextHops.every(({ gateway }) => gateway === undefined);
  const added = {
    type: "unicast",
    scope: defaultScope(route.type ?? "unicast", direct),
    protocol: RTPROT_STATIC,
  } as const;
  const any = { type: "unspecified", scope: "nowhere", protocol: 0 } as const;
  const assumed = use === "add" ? added : any;
  const header = Header.encode({
    family: addressFamily(family),
    destinationLength: destination.length,
    table: table < 256 ? table : RT_TABLE_UNSPEC,
    protocol: route.protocol ?? assumed.protocol,
    scope: scopeNumber(route.scope ?? assumed.scope),
    type: routeTypes[route.type ?? assumed.type],
  });
  const attributes: Attribute[] = [
    { type: RTA_DST, value: destination.address.bytes },
    u32Attribute(RTA_TABLE, table),
  ];
  if (metric !== undefined) attributes.push(u32Attribute(RTA_PRIORITY, metric));
  if (preferredSource !== undefined)
    attributes.push({ type: RTA_PREFSRC, value: preferredSource.bytes });
  if (mtu !== undefined)
    attributes.push(nestedAttribute(RTA_METRICS, [u32Attribute(RTAX_MTU, mtu)]));
  const [only] = nextHops;
  if (nextHops.length === 1 && only !== undefined) {
    if (only.ifindex !== undefined) attributes.push(u32Attribute(RTA_OIF, only.ifindex));
    if (only.gateway !== undefined) attributes.push(gatewayAttribute(family, only.gateway));
  } else if (nextHops.length > 1) {
    attributes.push({ type: RTA_MULTIPATH, value: encodeNextHops(family, nextHops) });
  }
  return encodePayload(header, attributes);
}

/** AF_INET, AF_INET6, or AF_UNSPEC for 0. */
export function addressFamily(family: 0 | 4 | 6): number {
  if (family === 0) return 0;
  return family === 4 ? AF_INET : AF_INET6;
}

export const scopeName = (scope: number): RouteScope => scopeNames.get(scope) ?? scope;

export const scopeNumber = (scope: RouteScope): number =>
  typeof scope === "number" ? scope : scopes[scope];

function decodeNextHops(attributes: Attributes): NextHop[] {
  const multipath = attributes.get(RTA_MULTIPATH);
  if (multipath === undefined) {
    const ifindex = u32Of(attributes, RTA_OIF);
    return ifindex === undefined
      ? []
      : [{ ifindex, gateway: decodeGateway(attributes), weight: 1 }];
  }
  const hops: NextHop[] = [];
  for (let at = 0; at < multipath.length; ) {
    const { length, hops: weightLessOne, ifindex } = readHeader(NextHopHeader, multipath, at);
    if (length < NextHopHeader.size || at + length > multipath.length) {
      throw new NetlinkDecodeError(
        "rtnexthop length",
        at,
        `${length} in ${multipath.length - at} bytes`,
      );
    }
    const nested = decodeAttributes(multipath.subarray(at, at + length), NextHopHeader.size);
    hops.push({ ifindex, gateway: decodeGateway(nested), weight: weightLessOne + 1 });
    at += (length + 3) & ~3;
  }
  return hops;
}

function decodeGateway(attributes: Attributes): IpAddress | null {
  const gateway = ipOf(attributes, RTA_GATEWAY);
  if (gateway !== undefined) return gateway;
  const via = attributes.get(RTA_VIA);
  if (via === undefined) return null;
  readHeader(ViaHeader, via, 0);
  return toIp(via.subarray(ViaHeader.size), "RTA_VIA");
}

const decodeMtu = (attributes: Attributes): number | null => {
  const metrics = nestedOf(attributes, RTA_METRICS);
  return metrics === undefined ? null : (u32Of(metrics, RTAX_MTU) ?? null);
};

function encodeNextHops(family: 4 | 6, hops: NonNullable<NewRoute["nextHops"]>): Uint8Array {
  const encoded = hops.map(({ ifindex, gateway, weight }) => {
    const attributes = gateway === undefined ? [] : [gatewayAttribute(family, gateway)];
    const body = encodePayload(
      NextHopHeader.encode({ ifindex: ifindex ?? 0, hops: (weight ?? 1) - 1 }),
      attributes,
    );
    NextHopHeader.write(body, { length: body.length });
    return body;
  });
  return Uint8Array.from(encoded.flatMap((body) => [...body]));
}

/** RFC 8950: an IPv4 route through an IPv6 neighbour travels as RTA_VIA. */
function gatewayAttribute(family: 4 | 6, gateway: IpAddress): Attribute {
  if (gateway.family === family) return { type: RTA_GATEWAY, value: gateway.bytes };
  const header = ViaHeader.encode({ family: addressFamily(gateway.family) });
  return { type: RTA_VIA, value: Uint8Array.of(...header, ...gateway.bytes) };
}

/** As ip-route(8) chooses; IPv6 ignores it. */
function defaultScope(type: RouteType, direct: boolean): RouteScope {
  if (type === "local" || type === "nat") return "host";
  return type === "unicast" && direct ? "link" : "global";
}

const scopeNames = new Map(
  Object.entries(scopes).map(([name, number]) => [number as number, name as keyof typeof scopes]),
);
const routeTypeNames = new Map(
  Object.entries(routeTypes).map(([name, number]) => [number as number, name as RouteType]),
);
const routeTypeName = (type: number): RouteType => routeTypeNames.get(type) ?? "unspecified";
const unspecified = (family: 4 | 6): IpAddress => ({
  family,
  bytes: new Uint8Array(family === 4 ? 4 : 16),
});
