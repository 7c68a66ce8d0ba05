/**
 * The worlds packets are forwarded in: services, pools and backends, planned and laid out by the very
 * code the daemon uses, and the same world as the reference takes it.
 */
import { DEFAULT_HASH_KEY, flowHashKey } from "../src/datapath/flow-hash.ts";
import { defaultLimits } from "../src/datapath/director/maps.ts";
import type { ReferenceWorld } from "../src/datapath/reference/world.ts";
import type { NextHopId } from "../src/apply/next-hop-records.ts";
import { type Backend, defaultTunnels, type DirectorConfig } from "../src/model/model.ts";
import { formatIp, ip, type IpAddress } from "../src/net/address.ts";
import { type Mac, mac } from "../src/net/mac.ts";
import { wholePrefix } from "../src/net/prefix.ts";
import { type DesiredState, desiredState } from "../src/plan/desired-state.ts";
import type { Path } from "../src/plan/path.ts";
import { buildTable, type TablePlan } from "../src/schedule/table.ts";
import { DIRECTOR_MAC, type Family, PORT } from "./traffic.ts";

export const FIRST_VIP = { 4: ip("192.0.2.10"), 6: ip("2001:db8::10") } as const;
/** Where no service is. */
export const FOREIGN = { 4: ip("198.51.100.0"), 6: ip("2001:db8:f::") } as const;
export const HASH_KEY = flowHashKey(DEFAULT_HASH_KEY);
/** Packets come in by it and leave by it. */
export const IFINDEX = 7;
const MTU = 1500;

/** `ipip4` puts an outer IPv4 header in front, `ipip6` an outer IPv6 header. */
export type Way = "l2" | "ipip4" | "ipip6";

export interface World {
  readonly family: Family;
  readonly way: Way;
  readonly services: number;
  readonly pools: number;
  readonly backendsPerPool: number;
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

/** What the director's tables should hold; service `n` has the VIP `n` after the first, TCP and UDP. */
export function stateOf(world: World): DesiredState {
  const config = configOf(world);
  // Pools are alike down to the names of their members, which is all a table depends on.
  const table = buildTable(config.pools[0]?.backends ?? []);
  const tables: readonly TablePlan[] = config.pools.map(() => table);
  return desiredState(config, tables, (_, backend) => pathTo(backend));
}

/** The same world as `datapath/reference/director.ts` takes it. */
export function referenceWorld(state: DesiredState): ReferenceWorld {
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
    addresses: { ipv4: DIRECTOR[4], ipv6: DIRECTOR[6] },
    tunnels: defaultTunnels,
    outerSources: { ipv4: null, ipv6: null },
    vlanTags: 0,
    limits: defaultLimits,
    services,
  };
}

/** Every neighbour is resolved: a locally administered MAC with the end of its address. */
export const macOf = ({ neighbour }: Pick<NextHopId, "neighbour">): Mac =>
  Uint8Array.of(0x02, 0, ...neighbour.bytes.subarray(-4));

function configOf(world: World): Pick<DirectorConfig, "pools" | "services"> {
  const { family, way, services, pools, backendsPerPool } = world;
  return {
    pools: Array.from({ length: pools }, (_, pool) => ({
      name: `pool-${pool}`,
      backends: Array.from({ length: backendsPerPool }, (_, index) => ({
        name: `backend-${index}`,
        address: after(BACKENDS[way], pool * backendsPerPool + index),
        weight: 1,
        forwarding: way === "l2" ? ("l2" as const) : ("ipip" as const),
      })),
    })),
    services: Array.from({ length: services }, (_, service) =>
      (["tcp", "udp"] as const).map((protocol) => ({
        name: `service-${service}-${protocol}`,
        vips: [wholePrefix(after(FIRST_VIP[family], service))],
        protocol,
        ports: [{ first: PORT, last: PORT }],
        hashKey: "five-tuple" as const,
        pool: `pool-${service % pools}`,
      })),
    ).flat(),
  };
}

const BACKENDS: Readonly<Record<Way, IpAddress>> = {
  l2: ip("10.0.0.1"),
  ipip4: ip("10.0.0.1"),
  ipip6: ip("2001:db8:20::1"),
};
const ROUTER = { 4: ip("198.51.100.254"), 6: ip("2001:db8:20::fe") } as const;
const DIRECTOR = { 4: ip("198.51.100.1"), 6: ip("2001:db8:1::1") } as const;

/** On its own link for `l2`, behind one router for tunnels. */
function pathTo({ address, forwarding }: Pick<Backend, "address" | "forwarding">): Path {
  return {
    ifindex: IFINDEX,
    mac: mac(DIRECTOR_MAC),
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
