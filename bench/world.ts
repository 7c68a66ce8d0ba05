/**
 * The worlds packets are forwarded in: services, pools and backends, planned and laid out by the very
 * code the daemon uses, and the same world as the reference takes it.
 */
import { DEFAULT_HASH_KEY, flowHashKey } from "../src/datapath/flow-hash.ts";
import { defaultLimits } from "../src/datapath/director/maps.ts";
import type { ReferenceWorld } from "../src/datapath/reference/world.ts";
import type { DirectorVariant } from "../src/datapath/director/variant.ts";
import type { NextHopId } from "../src/apply/next-hop-records.ts";
import {
  defaultTunnels,
  type DirectorConfig,
  type Forwarding,
  type HashKey,
  type Pool,
  type Service,
} from "../src/model/model.ts";
import { formatIp, ip, type IpAddress } from "../src/net/address.ts";
import { type Mac, mac } from "../src/net/mac.ts";
import { maskedPrefix, wholePrefix } from "../src/net/prefix.ts";
import { ETH_P_8021AD, ETH_P_8021Q } from "../src/packet/headers.ts";
import { type DesiredState, desiredState } from "../src/plan/desired-state.ts";
import type { Path, PathTag } from "../src/plan/path.ts";
import { buildTable, type TablePlan } from "../src/schedule/table.ts";
import { DIRECTOR_MAC, type Family, PORT } from "./traffic.ts";

export const FIRST_VIP = { 4: ip("192.0.2.10"), 6: ip("2001:db8::10") } as const;
/** Where no service is (RFC 5737, RFC 9637). */
export const FOREIGN = { 4: ip("198.51.100.0"), 6: ip("3fff::") } as const;
export const HASH_KEY = flowHashKey(DEFAULT_HASH_KEY);
/** Packets come in by it and leave by it. */
export const IFINDEX = 7;
const MTU = 1500;

/** How packets are forwarded, and the family of the backends' addresses: that of an outer header. */
export const ways = {
  l2: { forwarding: "l2", family: 4 },
  ipip4: { forwarding: "ipip", family: 4 },
  ipip6: { forwarding: "ipip", family: 6 },
  gre4: { forwarding: "gre", family: 4 },
  gre6: { forwarding: "gre", family: 6 },
  fou4: { forwarding: "fou", family: 4 },
  fou6: { forwarding: "fou", family: 6 },
  gue4: { forwarding: "gue", family: 4 },
  gue6: { forwarding: "gue", family: 6 },
  dscp4: { forwarding: "dscp", family: 4 },
  dscp6: { forwarding: "dscp", family: 6 },
} as const satisfies Readonly<
  Record<string, { readonly forwarding: Forwarding; readonly family: Family }>
>;
export type Way = keyof typeof ways;
const wayNames = Object.keys(ways) as readonly Way[];

export interface World {
  readonly family: Family;
  readonly way: Way;
  readonly services: number;
  readonly pools: number;
  readonly backendsPerPool: number;
  /** Services that are more than an address and a port: how much of either they have. */
  readonly search?: "range" | "all" | "prefix";
  /** The five-tuple unless given. */
  readonly hashKey?: HashKey;
  /** VLAN tags of every next hop, which are looked behind too; none unless given. */
  readonly tags?: number;
  readonly udpChecksum?: boolean;
  /** Every feature is configured; family and way say nothing then. */
  readonly everything?: boolean;
}

export const plainWorld = (family: Family, way: Way): World => ({
  family,
  way,
  services: 1,
  pools: 1,
  backendsPerPool: 100,
});

/** As large as an installation gets: 1 000 services, 100 000 backends, a neighbour each. */
export const SCALE_WORLD: World = {
  family: 4,
  way: "l2",
  services: 1000,
  pools: 200,
  backendsPerPool: 500,
};

/** Names a world's tables: what makes no difference to them is not in it. */
export function worldKey(world: World): string {
  const kind: Pick<World, "family" | "way"> = { family: 4, way: "l2" };
  return JSON.stringify(world.everything === true ? { ...world, ...kind } : world);
}

/**
 * A service that is forwarded by `way` in the world that has every feature: `exact` is one address and
 * one port, `wide` one that a search of all levels ends at, by a hash key of its own.
 */
export const vipOf = (family: Family, way: Way, kind: "exact" | "wide"): IpAddress =>
  after(FIRST_VIP[family], wayNames.indexOf(way) + (kind === "exact" ? 0 : 100));

/** What the director's tables should hold; service `n` has the VIP `n` after the first, TCP and UDP. */
export function stateOf(world: World): DesiredState {
  const config = configOf(world);
  // Pools are alike down to the names of their members, which is all a table depends on.
  const table = tableOf(world.backendsPerPool);
  const tables: readonly TablePlan[] = config.pools.map(() => table);
  return desiredState(config, tables, (_, backend) => pathTo(backend, world));
}

const tablesMade = new Map<number, TablePlan>();

function tableOf(backends: number): TablePlan {
  const made = tablesMade.get(backends) ?? buildTable(backendsOf("l2", 0, backends));
  tablesMade.set(backends, made);
  return made;
}

/** What the program is specialised to besides the state. */
export function variantOf({
  tags = 0,
  udpChecksum = false,
  everything = false,
}: World): Pick<DirectorVariant, "addresses" | "tunnels" | "outerSources" | "vlanTags"> {
  return {
    addresses: everything ? { ipv4: DIRECTOR[4], ipv6: DIRECTOR[6] } : { ipv4: null, ipv6: null },
    tunnels: { ...defaultTunnels, udpChecksum },
    outerSources: everything ? OUTER_SOURCES : { ipv4: null, ipv6: null },
    vlanTags: everything ? TAGS.length : tags,
  };
}

/** The same world as `datapath/reference/director.ts` takes it. */
export function referenceWorld(state: DesiredState, world: World): ReferenceWorld {
  const pools = state.pools.map((pool) => ({
    owners: pool.table.base,
    memberCounters: pool.memberCounters,
    members: pool.members.map(({ forwarding, address, path }) => ({
      forwarding,
      address,
      codePoints: state.codePoints.get(formatIp(address)) ?? [],
      path: path && {
        ifindex: path.ifindex,
        sourceMac: path.mac,
        nextHopMac: macOf(path),
        tags: path.tags ?? [],
        mtu: path.mtu,
        source: path.source,
      },
    })),
  }));
  const services = state.services.flatMap((service) => {
    const pool = pools[service.pool];
    return pool === undefined ? [] : [{ ...service, pool }];
  });
  return {
    mac: mac(DIRECTOR_MAC),
    ifindex: IFINDEX,
    hashKey: HASH_KEY,
    ...variantOf(world),
    limits: defaultLimits,
    services,
  };
}

/** Every neighbour is resolved: a locally administered MAC with the end of its address. */
export const macOf = ({ neighbour }: Pick<NextHopId, "neighbour">): Mac =>
  Uint8Array.of(0x02, 0, ...neighbour.bytes.subarray(-4));

type Config = Pick<DirectorConfig, "pools" | "services">;

function configOf(world: World): Config {
  if (world.everything === true) return everything(world);
  const { family, way, services, pools, backendsPerPool, hashKey = "five-tuple" } = world;
  return {
    pools: Array.from({ length: pools }, (_, pool) => ({
      name: `pool-${pool}`,
      backends: backendsOf(way, pool * backendsPerPool, backendsPerPool),
    })),
    services: Array.from({ length: services }, (_, service) => {
      const vip = after(FIRST_VIP[family], service);
      const pool = `pool-${service % pools}`;
      return servicesOf(`service-${service}`, vip, { ...world, hashKey, pool });
    }).flat(),
  };
}

const ONE_PORT = [{ first: PORT, last: PORT }];
const MANY_PORTS = [{ first: PORT, last: 8080 }];

/** TCP and UDP, but one service for all protocols where it has all ports. */
function servicesOf(
  name: string,
  vip: IpAddress,
  {
    search,
    hashKey,
    pool,
  }: Pick<World, "search"> & { readonly hashKey: HashKey; readonly pool: string },
): readonly Service[] {
  const whole = { name, vips: [wholePrefix(vip)], hashKey, pool };
  if (search === "all") return [{ ...whole, protocol: "any", ports: "all" }];
  const ports = search === "range" ? MANY_PORTS : ONE_PORT;
  // One in the other, so that the search by address is more than a single look-up.
  const prefixes = PREFIX_LENGTHS[vip.family].map((length) =>
    maskedPrefix({ address: vip, length }),
  );
  const vips = search === "prefix" ? prefixes : whole.vips;
  return (["tcp", "udp"] as const).map((protocol) => ({
    ...whole,
    name: `${name}-${protocol}`,
    vips,
    protocol,
    ports,
  }));
}

const PREFIX_LENGTHS = { 4: [16, 24], 6: [32, 64] } as const;

/** A pool for each way; the shortest prefix and whole addresses with ranges make the search deep. */
function everything({ backendsPerPool }: World): Config {
  const pools = wayNames.map((way, index) => ({
    name: way,
    backends: backendsOf(way, index * backendsPerPool, backendsPerPool),
  }));
  const services = wayNames.flatMap((way) =>
    ([4, 6] as const).flatMap((family) =>
      canForward(family, way)
        ? [
            ...servicesOf(`${way}-${family}`, vipOf(family, way, "exact"), {
              hashKey: "five-tuple",
              pool: way,
            }),
            ...servicesOf(`${way}-${family}-wide`, vipOf(family, way, "wide"), {
              search: "range",
              hashKey: "client-vip",
              pool: way,
            }),
          ]
        : [],
    ),
  );
  const around: Service = {
    name: "around",
    vips: [
      maskedPrefix({ address: FIRST_VIP[4], length: 8 }),
      maskedPrefix({ address: FIRST_VIP[6], length: 32 }),
    ],
    protocol: "any",
    ports: "all",
    hashKey: "client",
    pool: "l2",
  };
  return { pools, services: [...services, around] };
}

/** Packets readdressed stay of their family. */
export const canForward = (family: Family, way: Way): boolean =>
  ways[way].forwarding !== "dscp" || ways[way].family === family;

const backendsOf = (way: Way, first: number, count: number): Pool["backends"] =>
  Array.from({ length: count }, (_, index) => ({
    name: `backend-${index}`,
    address: after(BACKENDS[ways[way].family], first + index),
    weight: 1,
    forwarding: ways[way].forwarding,
  }));

const BACKENDS = { 4: ip("10.0.0.1"), 6: ip("2001:db8:20::1") } as const;
const ROUTER = { 4: ip("198.51.100.254"), 6: ip("2001:db8:20::fe") } as const;
const DIRECTOR = { 4: ip("198.51.100.1"), 6: ip("2001:db8:1::1") } as const;
const OUTER_SOURCES = {
  ipv4: maskedPrefix({ address: ip("10.200.0.0"), length: 16 }),
  ipv6: maskedPrefix({ address: ip("2001:db8:9::"), length: 64 }),
};
/** Of next hops, other ones than frames come with; the inner one alone where there is one. */
const TAGS: readonly PathTag[] = [
  { protocol: ETH_P_8021AD, id: 300 },
  { protocol: ETH_P_8021Q, id: 400 },
];

/** On its own link for `l2`, behind one router for all else. */
function pathTo(
  { address, forwarding }: Pick<Pool["backends"][number], "address" | "forwarding">,
  { tags = 0 }: World,
): Path {
  return {
    ifindex: IFINDEX,
    mac: mac(DIRECTOR_MAC),
    tags: TAGS.slice(TAGS.length - tags),
    neighbour: forwarding === "l2" ? address : ROUTER[address.family],
    source: DIRECTOR[address.family],
    mtu: MTU,
  };
}

/** The address `distance` further, counted in its last 32 bits. */
function after({ family, bytes }: IpAddress, distance: number): IpAddress {
  const moved = Uint8Array.from(bytes);
  const view = new DataView(moved.buffer);
  const at = moved.length - 4;
  view.setUint32(at, view.getUint32(at) + distance);
  return { family, bytes: moved };
}
