/**
 * What the director's tables should hold: a pure function of the configuration, the tables built from
 * it and the paths of the moment. `apply/` writes it; planning the same twice gives the same.
 */
import { ForwardingCode } from "../datapath/layout.ts";
import type { Features } from "../datapath/director/variant.ts";
import { arenaSize, type IndexShape, indexShape } from "../model/arena-size.ts";
import type { DirectorConfig, Pool, Protocol } from "../model/model.ts";
import type { IpAddress } from "../net/address.ts";
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

/** One VIP, protocol and port. */
export interface DesiredService {
  readonly name: string;
  readonly vip: IpAddress;
  /** IP protocol number. */
  readonly protocol: number;
  readonly port: number;
  /** Index in `DesiredState.pools`. */
  readonly pool: number;
  /** Number of its counter; its addresses share one. Services come first, then members. */
  readonly counter: number;
}

export interface DesiredState {
  readonly pools: readonly DesiredPool[];
  readonly services: readonly DesiredService[];
}

export const protocolNumber: Readonly<Record<Protocol, number>> = {
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
};

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
    return service.vips.flatMap((vip) =>
      service.ports.map(
        (port): DesiredService => ({
          name: service.name,
          vip,
          protocol: protocolNumber[service.protocol],
          port,
          pool,
          counter,
        }),
      ),
    );
  });
  return { pools, services };
}

/** What the program must be able to do for this state. */
export function featuresOf(state: DesiredState): Features {
  const families = new Set(state.services.map(({ vip }) => vip.family));
  const forwardings = new Set(
    state.pools.flatMap(({ members }) => members.map(({ forwarding }) => forwarding)),
  );
  forwardings.delete(ForwardingCode.none);
  return {
    ipv4: families.has(4),
    ipv6: families.has(6),
    forwardings: [...forwardings].toSorted((a, b) => a - b),
    hashKeys: false,
    wideIpv4: null,
    wideIpv6: null,
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
  });
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
  const keys = [...services.map(({ vip }) => vip), ...distinctVips(services)];
  const ipv6Keys = keys.filter(({ family }) => family === 6).length;
  return { ipv4Keys: keys.length - ipv6Keys, ipv6Keys };
}

/** Every VIP once, in the order of the services. */
export function distinctVips(
  services: readonly Pick<DesiredService, "vip">[],
): readonly IpAddress[] {
  const found = new Map<string, IpAddress>();
  let last: IpAddress | null = null;
  for (const { vip } of services) {
    // The ports of a VIP follow each other.
    if (vip === last) continue;
    last = vip;
    const text = vip.bytes.join();
    if (!found.has(text)) found.set(text, vip);
  }
  return [...found.values()];
}

function forwardingCode({
  forwarding,
  address,
}: Pick<Pool["backends"][number], "forwarding" | "address">): ForwardingCode {
  switch (forwarding) {
    case "l2":
      return ForwardingCode.l2;
    case "ipip":
      return address.family === 4 ? ForwardingCode.ipipOverIpv4 : ForwardingCode.ipipOverIpv6;
  }
}
