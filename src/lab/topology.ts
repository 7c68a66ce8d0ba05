/**
 * The lab's network as plain records: which nodes there are, how they are cabled, who has which
 * address and route. Pure; `network.ts` makes it real.
 *
 *     client ── router ── switch ── director
 *                 │          ├───── backend-1
 *                 │          └───── backend-2
 *                 └── backend-3
 *
 * Both families on every link, all addresses from the documentation ranges (RFC 5737, RFC 3849). The
 * VIPs lie in no subnet, as behind real routers: the router has a route to each via the director.
 */
import type { Prefix } from "../kernel/rtnetlink-routes.ts";
import type { IpAddress } from "../net/address.ts";
import { ip } from "../net/address.ts";
import type { Mac } from "../net/mac.ts";
import { mac } from "../net/mac.ts";

export interface InterfaceSpec {
  /** In its node. */
  readonly name: string;
  /** Unique in the whole lab: equal numbers at both ends of a cable delay its carrier by a second. */
  readonly ifindex: number;
  readonly mac: Mac;
  readonly mtuBytes: number;
  /** An IPv4 and an IPv6 address; none on a switch. */
  readonly addresses: readonly Prefix[];
}

export interface RouteSpec {
  readonly destination: Prefix;
  readonly gateway: IpAddress;
}

export interface NodeSpec<Name extends string = string> {
  readonly name: Name;
  /** `switch`: its interfaces are ports of a bridge. `router`: it forwards packets of others. */
  readonly role: "host" | "router" | "switch";
  readonly interfaces: readonly InterfaceSpec[];
  readonly routes: readonly RouteSpec[];
}

export interface CableEnd<Name extends string = string> {
  readonly node: Name;
  readonly interface: string;
}

export interface Topology<Name extends string = string> {
  readonly nodes: Readonly<Record<Name, NodeSpec<Name>>>;
  readonly cables: readonly (readonly [CableEnd<Name>, CableEnd<Name>])[];
  readonly vips: readonly IpAddress[];
}

/** A subnet and who is in it, by the last number of their addresses. */
export interface Segment<Name extends string = string> {
  readonly ipv4: Prefix;
  readonly ipv6: Prefix;
  readonly mtuBytes: number;
  readonly members: Partial<Readonly<Record<Name, number>>>;
  /** The node that joins the members; without, they are two and cabled to each other. */
  readonly switch?: Name;
}

export interface LabOptions {
  readonly vips?: readonly IpAddress[];
  /**
   * Of the client's network, 1280 to 3498: native XDP on veth takes no more (drivers/net/veth.c,
   * veth_xdp_set). The networks of director and backends have 100 more, as far as that goes.
   */
  readonly mtuBytes?: number;
}

export const labNodes = [
  "client",
  "router",
  "switch",
  "director",
  "backend-1",
  "backend-2",
  "backend-3",
] as const;
export type LabNodeName = (typeof labNodes)[number];

/** Clients send to these unless told otherwise. */
export const LAB_VIPS: readonly IpAddress[] = [ip("203.0.113.200"), ip("2001:db8:f::200")];

const MTU_BYTES = 1500;
const MTU_MIN_BYTES = 1280;
const MTU_MAX_BYTES = 3498;
/**
 * An outer header takes 20 bytes (IPv4) or 40 (IPv6). Where encapsulated packets travel there is to
 * be room for it, so that the client's largest packet still fits: nobody tells clients of a smaller
 * path MTU yet.
 */
const ROOM_FOR_OUTER_BYTES = 100;

/**
 * The lab of the picture above.
 * @throws {RangeError} when the MTU is out of range
 */
export function labTopology(options: LabOptions = {}): Topology<LabNodeName> {
  const mtuBytes = options.mtuBytes ?? MTU_BYTES;
  const wideBytes = Math.min(mtuBytes + ROOM_FOR_OUTER_BYTES, MTU_MAX_BYTES);
  return connect({
    names: labNodes,
    segments: [
      {
        ipv4: prefix("198.51.100.0", 24),
        ipv6: prefix("2001:db8:1::", 64),
        mtuBytes,
        members: { client: 10, router: 1 },
      },
      {
        ipv4: prefix("192.0.2.0", 24),
        ipv6: prefix("2001:db8:2::", 64),
        mtuBytes: wideBytes,
        members: { router: 1, director: 2, "backend-1": 11, "backend-2": 12 },
        switch: "switch",
      },
      {
        // The upper half of 203.0.113.0/24 is the VIPs'.
        ipv4: prefix("203.0.113.0", 25),
        ipv6: prefix("2001:db8:3::", 64),
        mtuBytes: wideBytes,
        members: { router: 1, "backend-3": 13 },
      },
    ],
    router: "router",
    director: "director",
    vips: options.vips ?? LAB_VIPS,
  });
}

/**
 * Cables segments that meet in one router: everyone's default route is the router, the router's
 * routes to the VIPs are via the director.
 * @throws {RangeError} when the MTU is out of range
 */
export function connect<Name extends string>(plan: {
  readonly names: readonly Name[];
  readonly segments: readonly Segment<Name>[];
  readonly router: Name;
  readonly director: Name;
  readonly vips: readonly IpAddress[];
}): Topology<Name> {
  const { names, segments, router, director, vips } = plan;
  const interfaces = new Map<Name, InterfaceSpec[]>(names.map((name) => [name, []]));
  const routes = new Map<Name, RouteSpec[]>(names.map((name) => [name, []]));
  const cables: (readonly [CableEnd<Name>, CableEnd<Name>])[] = [];
  let number = 10;

  const plug = (
    node: Name,
    name: string | null,
    mtuBytes: number,
    addresses: readonly Prefix[],
  ): CableEnd<Name> => {
    const own = interfaces.get(node) ?? [];
    const ifindex = number++;
    // RFC 9542 §2.1.2 keeps 00-00-5E-00-53-xx for documentation.
    const address = mac(`00:00:5e:00:53:${ifindex.toString(16).padStart(2, "0")}`);
    own.push({ name: name ?? `eth${own.length}`, ifindex, mac: address, mtuBytes, addresses });
    return { node, interface: own.at(-1)?.name ?? "" };
  };

  for (const segment of segments) {
    const { mtuBytes } = segment;
    if (!(mtuBytes >= MTU_MIN_BYTES && mtuBytes <= MTU_MAX_BYTES)) {
      throw new RangeError(
        `Cannot build a lab with an MTU of ${mtuBytes}: ${MTU_MIN_BYTES} to ${MTU_MAX_BYTES} is possible`,
      );
    }
    const members = names.filter((name) => segment.members[name] !== undefined);
    const prefixes = [segment.ipv4, segment.ipv6];
    const addressesOf = (name: Name): Prefix[] =>
      prefixes.map((subnet) => memberOf(subnet, segment.members[name] ?? 0));
    const ends = members.map((name) => plug(name, null, mtuBytes, addressesOf(name)));
    if (segment.switch === undefined) {
      const [a, b] = ends;
      if (a !== undefined && b !== undefined) cables.push([a, b]);
    } else {
      for (const end of ends) cables.push([end, plug(segment.switch, end.node, mtuBytes, [])]);
    }
    for (const name of members) {
      if (name === router) continue;
      for (const { address } of addressesOf(router)) {
        routes.get(name)?.push({ destination: everything(address.family), gateway: address });
      }
    }
    if (segment.members[director] !== undefined) {
      const gateways = addressesOf(director);
      for (const vip of vips) {
        const gateway = gateways.find(({ address }) => address.family === vip.family);
        if (gateway === undefined) continue;
        const destination = { address: vip, length: vip.bytes.length * 8 };
        routes.get(router)?.push({ destination, gateway: gateway.address });
      }
    }
  }

  const switches = new Set(segments.map((segment) => segment.switch));
  const nodes = Object.fromEntries(
    names.map((name) => [
      name,
      {
        name,
        role: switches.has(name) ? "switch" : name === router ? "router" : "host",
        interfaces: interfaces.get(name) ?? [],
        routes: routes.get(name) ?? [],
      },
    ]),
  ) as unknown as Record<Name, NodeSpec<Name>>;
  return { nodes, cables, vips };
}

/**
 * The first address of a family that a node has.
 * @throws {Error} when it has none
 */
export function addressOf(node: NodeSpec, family: 4 | 6): IpAddress {
  for (const { addresses } of node.interfaces) {
    for (const { address } of addresses) if (address.family === family) return address;
  }
  throw new Error(`Node "${node.name}" has no IPv${family} address`);
}

/** @throws {Error} when the node has no such interface */
export function interfaceOf(node: NodeSpec, name: string): InterfaceSpec {
  const found = node.interfaces.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`Node "${node.name}" has no interface "${name}"`);
  return found;
}

const prefix = (address: string, length: number): Prefix => ({ address: ip(address), length });

const everything = (family: 4 | 6): Prefix => prefix(family === 4 ? "0.0.0.0" : "::", 0);

function memberOf({ address, length }: Prefix, number: number): Prefix {
  const bytes = address.bytes.slice();
  // Written as it reads: 11 is .11 and ::11, which is 0x11.
  bytes[bytes.length - 1] = address.family === 4 ? number : Number.parseInt(String(number), 16);
  return { address: { family: address.family, bytes }, length };
}
