/**
 * What the tests of the director share: a small world of VIPs and pools, one pool for each way a
 * packet can go, written into a real arena and forwarded by the real program, and the same world as
 * the reference takes it. No device is needed: packets are run by BPF_PROG_TEST_RUN.
 */
import { compile } from "../bpf/program.ts";
import { CounterMemory } from "../datapath/counter-memory.ts";
import { defaultLimits, directorMaps, trafficCounter } from "../datapath/director/maps.ts";
import { directorProgram } from "../datapath/director/program.ts";
import type { DirectorVariant, Features } from "../datapath/director/variant.ts";
import { flowHashKey } from "../datapath/flow-hash.ts";
import { ForwardingCode, Limits, NO_OWNER } from "../datapath/layout.ts";
import { directorReasons } from "../datapath/reasons.ts";
import type { ReferenceWorld } from "../datapath/reference/world.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import { type BpfProgram, loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { defaultTunnels } from "../model/model.ts";
import { formatIp, ip, type IpAddress } from "../net/address.ts";
import { type Mac, mac } from "../net/mac.ts";
import { wholePrefix } from "../net/prefix.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../packet/headers.ts";
import {
  arenaBytesFor,
  type DesiredMember,
  type DesiredPool,
  type DesiredState,
  featuresOf,
  indexShapeFor,
} from "../plan/desired-state.ts";
import type { Path } from "../plan/path.ts";
import type { NextHopId } from "./next-hop-records.ts";
import { Arena } from "./arena.ts";
import { DirectorTables } from "./director-tables.ts";

export const VIP = "192.0.2.10";
export const VIP_6 = "2001:db8::10";
export const DIRECTOR = "198.51.100.1";
export const DIRECTOR_6 = "2001:db8:20::1";
export const BACKEND_L2 = "198.51.100.11";
export const BACKEND_4 = "203.0.113.12";
export const BACKEND_6 = "2001:db8:21::12";

/** What a variant is when nothing special is asked for. */
export const plainVariant = {
  addresses: { ipv4: null, ipv6: null },
  tunnels: defaultTunnels,
  outerSources: { ipv4: null, ipv6: null },
  vlanTags: 0,
} as const;

/** The interface packets come in by, and the other one. */
export const IFINDEX = 7;
export const OTHER_IFINDEX = 9;
/** Its first two bytes share a word with the next hop's MAC: they are not zero, lest zeros hide there. */
export const DIRECTOR_MAC = "02:01:5e:00:53:01";
export const OTHER_MAC = "00:00:5e:00:53:02";
export const BACKEND_MAC = "00:00:5e:00:53:11";
export const ROUTER_MAC = "00:00:5e:00:53:fe";

export const HASH_KEY = flowHashKey(Uint8Array.from({ length: 32 }, (_, index) => index));

const ROUTER = ip("198.51.100.254");
const ROUTER_6 = ip("2001:db8:20::fe");
const NOBODY = ip("198.51.100.99");
const MTU = 1500;
const OTHER_MTU = 1300;

const path = (neighbour: IpAddress, rest: Partial<Path> = {}): Path => ({
  ifindex: IFINDEX,
  mac: mac(DIRECTOR_MAC),
  neighbour,
  source: ip(neighbour.family === 4 ? DIRECTOR : DIRECTOR_6),
  mtu: MTU,
  ...rest,
});
const elsewhere = { ifindex: OTHER_IFINDEX, mac: mac(OTHER_MAC), mtu: OTHER_MTU };

const member = (
  name: string,
  address: string,
  forwarding: ForwardingCode,
  way: Path | null,
): DesiredMember => ({ name, address: ip(address), forwarding, path: way });

const l2 = member("l2", BACKEND_L2, ForwardingCode.l2, path(ip(BACKEND_L2)));
const ipip4 = member("ipip4", BACKEND_4, ForwardingCode.ipipOverIpv4, path(ROUTER));
const ipip6 = member("ipip6", BACKEND_6, ForwardingCode.ipipOverIpv6, path(ROUTER_6));

/** By the port its services have on both VIPs, TCP and UDP: the members of a pool. */
export const PORTS = {
  l2: 80,
  ipip4: 81,
  ipip6: 82,
  noBackend: 83,
  unresolved: 84,
  noPath: 85,
  l2Elsewhere: 86,
  ipip4Elsewhere: 87,
  noForwarding: 88,
  mixed: 443,
} as const;
export type PoolName = keyof typeof PORTS;

const membersOf: Readonly<Record<PoolName, readonly DesiredMember[]>> = {
  l2: [l2],
  ipip4: [ipip4],
  ipip6: [ipip6],
  noBackend: [l2],
  unresolved: [member("unresolved", BACKEND_L2, ForwardingCode.l2, path(NOBODY))],
  noPath: [member("no path", BACKEND_4, ForwardingCode.ipipOverIpv4, null)],
  l2Elsewhere: [
    member("l2 elsewhere", BACKEND_L2, ForwardingCode.l2, path(ip(BACKEND_L2), elsewhere)),
  ],
  ipip4Elsewhere: [
    member("ipip4 elsewhere", BACKEND_4, ForwardingCode.ipipOverIpv4, path(ROUTER, elsewhere)),
  ],
  noForwarding: [member("no forwarding", BACKEND_L2, ForwardingCode.none, path(ip(BACKEND_L2)))],
  mixed: [ipip4, l2, ipip6],
};
const MIXED_BUCKETS = 64;

/** All pools, or the few that a variant can forward to. */
export function stateOf(
  names: readonly PoolName[] = Object.keys(PORTS) as PoolName[],
  vips: readonly string[] = [VIP, VIP_6],
): DesiredState {
  let memberCounters = names.length;
  const pools = names.map((name): DesiredPool => {
    const members = membersOf[name];
    const first = memberCounters;
    memberCounters += members.length;
    const size = name === "mixed" ? MIXED_BUCKETS : 4;
    const base = new Uint16Array(size).map((_, bucket) => bucket % members.length);
    const table = {
      size,
      members: members.map(({ name }) => ({ name, weight: 1 })),
      base,
      second: base,
    };
    return { name, table, members, memberCounters: first };
  });
  const services = names.flatMap((name, pool) =>
    vips.flatMap((vip) =>
      [IPPROTO_TCP, IPPROTO_UDP].map((protocol) => ({
        name,
        vip: wholePrefix(ip(vip)),
        protocol,
        ports: { first: PORTS[name], last: PORTS[name] },
        hashKey: "five-tuple" as const,
        pool,
        counter: pool,
      })),
    ),
  );
  return { pools, services, codePoints: new Map() };
}

export const ownersOf = ({ name, table }: DesiredPool): Uint16Array =>
  name === ("noBackend" satisfies PoolName) ? table.base.map(() => NO_OWNER) : table.base;

export function macOf({ neighbour }: NextHopId): Mac | null {
  const address = formatIp(neighbour);
  if (address === formatIp(NOBODY)) return null;
  return mac(address === BACKEND_L2 ? BACKEND_MAC : ROUTER_MAC);
}

/** The same world as `datapath/reference/director.ts` takes it. */
export function referenceWorld(state: DesiredState, given: VariantGiven = {}): ReferenceWorld {
  const pools = state.pools.map((pool) => ({
    owners: ownersOf(pool),
    memberCounters: pool.memberCounters,
    members: pool.members.map(({ forwarding, address, path: way }) => ({
      forwarding,
      address,
      codePoints: state.codePoints.get(formatIp(address)) ?? [],
      path: way && {
        ifindex: way.ifindex,
        sourceMac: way.mac,
        nextHopMac: macOf({ ...way, ifindex: way.neighbourIfindex ?? way.ifindex }),
        tags: way.tags ?? [],
        mtu: way.mtu,
        source: way.source,
      },
    })),
  }));
  return {
    mac: mac(DIRECTOR_MAC),
    ifindex: IFINDEX,
    hashKey: HASH_KEY,
    ...plainVariant,
    ...given,
    limits: defaultLimits,
    services: state.services.map((service) => ({
      ...service,
      pool: pools[service.pool] as (typeof pools)[number],
    })),
  };
}

/** What of a variant differs from the plain one of a state. */
export type VariantGiven = Partial<Omit<DirectorVariant, "maps" | "features">> & {
  readonly features?: Partial<Features>;
};

/** Counters that rose, each as `kind name packets/bytes`. */
type Counted = readonly string[];

export interface Forwarded {
  readonly verdict: number;
  /** Valid until the next run. */
  readonly packet: Uint8Array;
  readonly counted: Counted;
}

/** A loaded director with its tables. Dispose of it to close what it holds. */
export class DirectorUnderTest {
  readonly program: BpfProgram;
  readonly tables: DirectorTables;
  readonly testRun: TestRun;
  /** `Limits` as the program sees them. */
  readonly limits: Uint8Array;
  readonly #state: DesiredState;
  readonly #maps: ReadonlyMap<unknown, BpfMap>;
  readonly #counters: CounterMemory;
  readonly #unmap: () => void;

  constructor(state: DesiredState, given: VariantGiven = {}) {
    this.#state = state;
    const memberCount = state.pools.reduce((sum, pool) => sum + pool.members.length, 0);
    const declared = directorMaps({
      arenaBytes: arenaBytesFor(state),
      index: indexShapeFor(state),
      counters: state.pools.length + memberCount,
      cpus: possibleCpuLimit(),
    });
    const specs = [declared.arena.map, declared.counters.map, declared.limits];
    this.#maps = new Map(specs.map((spec) => [spec, createMap(spec)]));
    this.#counters = new CounterMemory(this.#map(declared.counters.map), declared.counters);
    const mapped = this.#map(declared.arena.map).mmap();
    // Tests run a packet at a time: none is under way while a table changes.
    const arena = new Arena(mapped.bytes.subarray(0, declared.arena.size), async () => {});
    const variant: DirectorVariant = {
      maps: declared,
      hashKey: HASH_KEY,
      ifindex: IFINDEX,
      mac: mac(DIRECTOR_MAC),
      ...plainVariant,
      ...given,
      features: { ...featuresOf(state), ...given.features },
    };
    const { outerSources } = variant;
    const { index } = declared;
    this.tables = new DirectorTables(arena, { index, hashKey: HASH_KEY, outerSources }, macOf);
    const limits = this.#map(declared.limits).mmap();
    this.limits = limits.bytes;
    this.setLimits(defaultLimits);
    this.#unmap = () => {
      mapped.unmap();
      limits.unmap();
    };
    const image = compile(directorProgram(variant));
    this.program = loadProgram(image, (spec) => this.#map(spec).fd);
    this.testRun = new TestRun(this.program.fd, { maxPacket: 3000 });
  }

  static async open(
    state: DesiredState = stateOf(),
    given: VariantGiven = {},
  ): Promise<DirectorUnderTest> {
    const director = new DirectorUnderTest(state, given);
    await director.tables.publish(state, ownersOf);
    return director;
  }

  /** Sets the clock and the limits of the program, as they are before the first packet. */
  setLimits(limits: Parameters<typeof Limits.encode>[0]): void {
    Limits.write(this.limits, { clock: 0n, timeExceeded: 0n, ...limits });
  }

  /** Runs one packet and says which counters rose. */
  run(packet: Uint8Array, repeat = 1): Forwarded {
    const before = this.counters();
    const { verdict, packet: out } = this.testRun.run(packet, { repeat });
    const after = this.counters();
    const counted = [...after].flatMap(([name, [packets, bytes]]) => {
      const [packetsBefore, bytesBefore] = before.get(name) ?? [0n, 0n];
      return packets === packetsBefore && bytes === bytesBefore
        ? []
        : [`${name} ${packets - packetsBefore}/${bytes - bytesBefore}`];
    });
    return { verdict, packet: out, counted };
  }

  /** Packets and bytes by `reason …`, `service …` and `member …`; `forwarded` is what services got. */
  counters(): ReadonlyMap<string, readonly [bigint, bigint]> {
    const { pools } = this.#state;
    const rows = [
      ...directorReasons.map(({ name }, index) => [`reason ${name}`, index] as const),
      ...pools.map(({ name }, index) => [`service ${name}`, trafficCounter(index)] as const),
      ...pools.flatMap((pool) =>
        pool.members.map(
          (each, index) =>
            [
              `member ${pool.name} ${each.name}`,
              trafficCounter(pool.memberCounters + index),
            ] as const,
        ),
      ),
    ];
    const counted = new Map(
      rows.map(([name, index]) => {
        const { packets, bytes } = this.#counters.read(index);
        return [name, [packets, bytes] as const];
      }),
    );
    const services = pools.map(({ name }) => counted.get(`service ${name}`) ?? [0n, 0n]);
    counted.set("reason forwarded", [
      services.reduce((sum, [packets]) => sum + packets, 0n),
      services.reduce((sum, [, bytes]) => sum + bytes, 0n),
    ]);
    return counted;
  }

  [Symbol.dispose](): void {
    this.program.close();
    this.#counters.close();
    this.#unmap();
    for (const map of this.#maps.values()) map.close();
  }

  #map(spec: unknown): BpfMap {
    const map = this.#maps.get(spec);
    if (map === undefined) throw new Error("The program uses a map that was not declared");
    return map;
  }
}
