/**
 * What the director's tables should hold: a pure function of the configuration, the tables built from
 * it and the paths of the moment. `apply/` writes it; planning the same twice gives the same.
 */
import { ForwardingCode } from "../datapath/layout.ts";
import type { Features } from "../datapath/director/variant.ts";
import { planWide, type WideService, wideShape } from "../datapath/director/wide-plan.ts";
import { arenaSize, type IndexShape, indexShape } from "../model/arena-size.ts";
import type { DirectorConfig, HashKey, Pool, PortRange, Protocol } from "../model/model.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import { formatPrefix, type IpPrefix, isWhole } from "../net/prefix.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../packet/headers.ts";
import type { TablePlan } from "../schedule/table.ts";
import type { Path } from "./path.ts";

export interface DesiredMember {
  readonly name: string;
  readonly address: IpAddress;
  readonly forwarding: ForwardingCode;
  /** `null`: no way to it now; its packets are dropped and counted `no_next_hop`. */
  readonly path: Path | null;
}

export interface DesiredPool {
  readonly name: string;
  readonly table: TablePlan;
  /** In the order of `table.members`; the index is a bucket's owner. */
  readonly members: readonly DesiredMember[];
  /** Number of member 0's counter; the others follow. */
  readonly memberCounters: number;
}

/** One VIP or prefix, a protocol and a range of ports. */
export interface DesiredService {
  readonly name: string;
  readonly vip: IpPrefix;
  /** IP protocol number; `null` is any. */
  readonly protocol: number | null;
  /** All of them: 0 to 65535. */
  readonly ports: PortRange;
  readonly hashKey: HashKey;
  /** Index in `DesiredState.pools`. */
  readonly pool: number;
  /** Number of its counter; its addresses share one. Services come first, then members. */
  readonly counter: number;
}

export interface DesiredState {
  readonly pools: readonly DesiredPool[];
  readonly services: readonly DesiredService[];
  /** By a backend's address as text: the VIPs that `dscp` members there know by code points, from 1 on. */
  readonly codePoints: ReadonlyMap<string, readonly IpAddress[]>;
}

/** The port of a service that is one address, one protocol and one port; else `null`. */
export const exactPort = ({ vip, protocol, ports }: DesiredService): number | null =>
  isWhole(vip) && protocol !== null && ports.first === ports.last ? ports.first : null;

/** IP protocol numbers; `null` is any. */
export const protocolNumber: Readonly<Record<Protocol, number | null>> = {
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
  any: null,
};

const ALL_PORTS: readonly PortRange[] = [{ first: 0, last: 65_535 }];

/** Tables in the order of `config.pools`; `pathOf` by pool and backend. */
export function desiredState(
  config: Pick<DirectorConfig, "pools" | "services">,
  tables: readonly TablePlan[],
  pathOf: (pool: Pool, backend: Pool["backends"][number]) => Path | null,
): DesiredState {
  let memberCounters = config.services.length;
  const pools = config.pools.map((pool, index): DesiredPool => {
    const table = tables[index];
    if (table === undefined) throw new RangeError(`No table was built for pool "${pool.name}"`);
    const first = memberCounters;
    memberCounters += pool.backends.length;
    const members = pool.backends.map(
      (backend): DesiredMember => ({
        name: backend.name,
        address: backend.address,
        forwarding: forwardingCode(backend),
        path: pathOf(pool, backend),
      }),
    );
    return { name: pool.name, table, members, memberCounters: first };
  });
  const services = config.services.flatMap((service, counter) => {
    const pool = config.pools.findIndex(({ name }) => name === service.pool);
    const ranges = service.ports === "all" ? ALL_PORTS : service.ports;
    return service.vips.flatMap((vip) =>
      ranges.map(
        (ports): DesiredService => ({
          name: service.name,
          vip,
          protocol: protocolNumber[service.protocol],
          ports,
          hashKey: service.hashKey,
          pool,
          counter,
        }),
      ),
    );
  });
  return { pools, services, codePoints: codePointsOf(config) };
}

/**
 * The VIPs that each backend of forwarding `dscp` is sent packets for, by its address: in the order of
 * the file, a VIP's code point is its place there, from 1 on.
 */
export function codePointsOf(
  config: Pick<DirectorConfig, "pools" | "services">,
): DesiredState["codePoints"] {
  const readdressed = new Map(
    config.pools.map(({ name, backends }) => [
      name,
      backends.filter(({ forwarding }) => forwarding === "dscp"),
    ]),
  );
  const byBackend = new Map<string, Map<string, IpAddress>>();
  for (const { pool, vips } of config.services) {
    for (const { address } of readdressed.get(pool) ?? []) {
      const known = byBackend.get(formatIp(address)) ?? new Map<string, IpAddress>();
      byBackend.set(formatIp(address), known);
      for (const vip of vips) {
        if (vip.address.family === address.family) known.set(formatPrefix(vip), vip.address);
      }
    }
  }
  return new Map([...byBackend].map(([backend, vips]) => [backend, [...vips.values()]]));
}

/** What the program must be able to do for this state. */
export function featuresOf(state: DesiredState): Features {
  const families = new Set(state.services.map(({ vip }) => vip.address.family));
  const forwardings = new Set(
    state.pools.flatMap(({ members }) => members.map(({ forwarding }) => forwarding)),
  );
  forwardings.delete(ForwardingCode.none);
  return {
    ipv4: families.has(4),
    ipv6: families.has(6),
    forwardings: [...forwardings].toSorted((a, b) => a - b),
    hashKeys: state.services.some(({ hashKey }) => hashKey !== "five-tuple"),
    wideIpv4: wideShape(wideServices(state.services), 4),
    wideIpv6: wideShape(wideServices(state.services), 6),
  };
}

/** Size of an arena in which this state, and any other way to its members, can be laid out for ever. */
export function arenaBytesFor(state: DesiredState): number {
  const sizes = state.pools.map(({ table }) => table.size);
  return arenaSize({
    pools: state.pools.length,
    buckets: sizes.reduce((sum, size) => sum + size, 0),
    bucketsOfLargest: Math.max(0, ...sizes),
    members: state.pools.reduce((sum, { members }) => sum + members.length, 0),
    ...indexKeys(state.services),
    searchBytes: searchBytes(state),
  });
}

/** What services that are searched for take beside the index, and the code points of members. */
function searchBytes({ services, pools }: DesiredState): number {
  const codePoints = new Set(services.map(({ vip, pool }) => `${pool} ${formatPrefix(vip)}`)).size;
  const members = Math.max(0, ...pools.map((pool) => pool.members.length));
  const hasCodes = pools.some((pool) =>
    pool.members.some(({ forwarding }) => forwarding === ForwardingCode.dscp),
  );
  return planWide(wideServices(services)).size + (hasCodes ? codePoints * (members + 64) : 0);
}

/** The shape of an index of these services, or of as many others. */
export function indexShapeFor({ services }: Pick<DesiredState, "services">): IndexShape {
  const { ipv4Keys, ipv6Keys } = indexKeys(services);
  return indexShape(ipv4Keys, ipv6Keys);
}

/** Keys of an index by family: one for each service address, and one for each VIP alone. */
function indexKeys(services: DesiredState["services"]): {
  readonly ipv4Keys: number;
  readonly ipv6Keys: number;
} {
  const exact = services.filter((service) => exactPort(service) !== null);
  const anchors = planWide(wideServices(services)).anchors;
  const keys = [
    ...exact.map(({ vip }) => vip.address),
    ...distinctVips(services),
    ...anchors.map(({ address }) => address),
  ];
  const ipv6Keys = keys.filter(({ family }) => family === 6).length;
  return { ipv4Keys: keys.length - ipv6Keys, ipv6Keys };
}

/** Services that are searched for: each with a slot of its own number. */
const wideServices = (services: DesiredState["services"]): readonly WideService[] =>
  services
    .filter((service) => exactPort(service) === null)
    .map(({ vip, protocol, ports }, slot) => ({ vip, protocol, ports, slot }));

/** Every VIP that is a whole address once, in the order of the services. */
export function distinctVips(
  services: readonly Pick<DesiredService, "vip">[],
): readonly IpAddress[] {
  const found = new Map<string, IpAddress>();
  let last: IpPrefix | null = null;
  for (const { vip } of services) {
    // The ports of a VIP follow each other.
    if (vip === last || !isWhole(vip)) continue;
    last = vip;
    const text = vip.address.bytes.join();
    if (!found.has(text)) found.set(text, vip.address);
  }
  return [...found.values()];
}

function forwardingCode({
  forwarding,
  address: { family },
}: Pick<Pool["backends"][number], "forwarding" | "address">): ForwardingCode {
  const over = <Code extends ForwardingCode>(ipv4: Code, ipv6: Code): Code =>
    family === 4 ? ipv4 : ipv6;
  switch (forwarding) {
    case "l2":
      return ForwardingCode.l2;
    case "ipip":
      return over(ForwardingCode.ipipOverIpv4, ForwardingCode.ipipOverIpv6);
    case "gre":
      return over(ForwardingCode.greOverIpv4, ForwardingCode.greOverIpv6);
    case "fou":
      return over(ForwardingCode.fouOverIpv4, ForwardingCode.fouOverIpv6);
    case "gue":
      return over(ForwardingCode.gueOverIpv4, ForwardingCode.gueOverIpv6);
    case "dscp":
      return ForwardingCode.dscp;
  }
}
