/**
 * Programs written twice with equal logic: with the builder, and in C under `bench/oracle/`. Both get
 * their constants from the same values here and use the same maps.
 */
import {
  macOf as fixtureMacOf,
  ownersOf,
  type PoolName,
  PORTS,
  stateOf as fixtureState,
} from "../src/apply/director-fixture.ts";
import type { MapSpec, ProgramImage } from "../src/bpf/image.ts";
import { compile, type Program } from "../src/bpf/program.ts";
import {
  agentEntries,
  type AgentTables,
  agentVariant,
  mapsOf,
} from "../src/datapath/agent/contents.ts";
import { agentMaps } from "../src/datapath/agent/maps.ts";
import { agentProgram } from "../src/datapath/agent/program.ts";
import { tunnelKinds } from "../src/datapath/agent/variant.ts";
import type { Counters } from "../src/datapath/counters.ts";
import type { DirectorVariant } from "../src/datapath/director/variant.ts";
import type { FlowHashKey } from "../src/datapath/flow-hash.ts";
import { type Random, randomFrame, randomPacket } from "../src/datapath/fuzz-fixture.ts";
import { ForwardingCode } from "../src/datapath/layout.ts";
import { agentReasons, directorReasons } from "../src/datapath/reasons.ts";
import { inTunnel } from "../src/datapath/tunnel-fixture.ts";
import { type BpfMap, createMap } from "../src/kernel/maps.ts";
import { possibleCpuLimit } from "../src/kernel/possible-cpus.ts";
import { indexLayout } from "../src/model/arena-size.ts";
import { defaultTunnels } from "../src/model/model.ts";
import { formatIp, ip } from "../src/net/address.ts";
import { wholePrefix } from "../src/net/prefix.ts";
import { bare, eth } from "../src/packet/build.ts";
import type { Defines } from "./clang.ts";
import { BenchDirector } from "./director.ts";
import {
  checksumProgram,
  filterProgram,
  filterRules,
  flowHashProgram,
  networkOf,
} from "./oracle-programs.ts";
import { DIRECTOR_MAC, type Family, PORT, type Traffic } from "./traffic.ts";
import { FIRST_VIP, HASH_KEY, plainWorld, stateOf } from "./world.ts";

export interface Oracle {
  readonly name: string;
  /** In `bench/oracle/`. */
  readonly file: string;
  /** Packets that are measured. */
  readonly traffic: Traffic;
  /** The world that is measured first, then others that are checked only. */
  readonly worlds: readonly (() => Promise<OracleWorld>)[];
}

/** Maps, filled, and what both programs are made of. Dispose of it to close them. */
export interface OracleWorld extends Disposable {
  readonly image: ProgramImage;
  readonly defines: Defines;
  readonly maps: readonly MapSpec[];
  readonly mapFd: (spec: MapSpec) => number;
  /** Packets and bytes of each counter by turns, all CPUs together. */
  readonly counters: () => readonly bigint[];
  readonly randomPacket: (random: Random) => Uint8Array;
}

const DIRECTOR = "198.51.100.1";
const BACKEND = "203.0.113.12";
const STRANGER = "198.51.100.200";
const FOREIGN = "192.0.2.11";
const DIRECTOR_6 = "2001:db8:20::1";
const BACKEND_6 = "2001:db8:21::12";
const STRANGER_6 = "2001:db8:20::2";
const CLIENTS = { ipv4: ["198.18.0.1", "198.19.26.7", "203.0.113.77"], ipv6: ["2001:2::1", "::"] };

const trafficTo = (family: Family, rest: Partial<Traffic> = {}): Traffic => ({
  family,
  kind: "established",
  flows: 1000,
  destination: FIRST_VIP[family],
  destinations: 1,
  ...rest,
});

export const oracles: readonly Oracle[] = [
  {
    name: "director l2",
    file: "director.c",
    traffic: trafficTo(4),
    worlds: [() => plainDirector("l2"), () => everyExit("l2", ["l2", "l2Elsewhere"])],
  },
  {
    name: "director ipip",
    file: "director.c",
    traffic: trafficTo(4),
    worlds: [() => plainDirector("ipip4"), () => everyExit("ipip4", ["ipip4", "ipip4Elsewhere"])],
  },
  {
    name: "agent",
    file: "agent.c",
    traffic: trafficTo(4, { outer: { source: ip(DIRECTOR), destination: ip(BACKEND) } }),
    worlds: [agent],
  },
  {
    name: "flow hash",
    file: "flow-hash.c",
    traffic: trafficTo(6),
    worlds: [() => alone(flowHashProgram(), keyDefines(HASH_KEY))],
  },
  {
    name: "filter",
    file: "filter.c",
    traffic: trafficTo(4, { flows: 1_000_000 }),
    worlds: [() => alone(filterProgram(), { RULES: rulesInC() })],
  },
  {
    name: "checksum",
    file: "checksum.c",
    traffic: trafficTo(4),
    worlds: [() => alone(checksumProgram(), {})],
  },
];

type DirectorWay = "l2" | "ipip4";

const plainDirector = async (way: DirectorWay): Promise<OracleWorld> =>
  directorWorld(await BenchDirector.open(stateOf(plainWorld(4, way))), way, [PORT]);

/** Pools for every way out of the program. */
async function everyExit(way: DirectorWay, own: readonly PoolName[]): Promise<OracleWorld> {
  const names = [...own, "noBackend", "unresolved", "noPath", "noForwarding"] as const;
  const director = await BenchDirector.open(fixtureState(names, [formatIp(FIRST_VIP[4])]), {
    features: {
      forwardings: [way === "l2" ? ForwardingCode.l2 : ForwardingCode.ipipOverIpv4],
    },
    neighbours: fixtureMacOf,
    owners: ownersOf,
  });
  return directorWorld(
    director,
    way,
    names.map((name) => PORTS[name]),
  );
}

function directorWorld(
  director: BenchDirector,
  way: DirectorWay,
  ports: readonly number[],
): OracleWorld {
  const { variant } = director;
  const { arena, counters } = variant.maps;
  const ends = {
    sources: CLIENTS,
    destinations: { ipv4: [formatIp(FIRST_VIP[4])], ipv6: [formatIp(FIRST_VIP[6])] },
    ports: [...ports, ...ports, ...ports, 9],
  };
  const link = eth("00:00:5e:00:53:fe", DIRECTOR_MAC);
  return {
    image: director.image,
    defines: {
      ...directorDefines(variant),
      [way === "l2" ? "FORWARD_L2" : "FORWARD_IPIP"]: 1,
    },
    maps: [arena.map, counters.map],
    mapFd: (spec) => director.map(spec).fd,
    counters: () => countersIn(director.map(counters.map), counters),
    randomPacket: (random) =>
      random.chance(0.03) ? randomFrame(random, link) : randomPacket(random, link, ends),
    [Symbol.dispose]: () => director[Symbol.dispose](),
  };
}

const directorDefines = ({ maps, mac, ifindex, hashKey }: DirectorVariant): Defines => {
  const own = new DataView(mac.buffer, mac.byteOffset, mac.byteLength);
  const { slots, slotsAt, displacements, displacementsAt } = indexLayout(maps.index).ipv4;
  return {
    ARENA_BYTES: maps.arena.size,
    SLOTS: slots,
    SLOTS_AT: slotsAt,
    DISPLACEMENTS: displacements,
    DISPLACEMENTS_AT: displacementsAt,
    MAC_0: own.getUint32(0, true),
    MAC_2: own.getUint32(2, true),
    MAC_4: own.getUint16(4, true),
    IFINDEX: ifindex,
    ...countersDefines(maps.counters),
    ...keyDefines(hashKey),
    ...reasonDefines(directorReasons),
  };
};

const countersDefines = ({ map, regionBytes }: Counters): Defines => ({
  COUNTERS_BYTES: map.valueSize,
  REGION_BYTES: regionBytes,
});

const keyDefines = (key: FlowHashKey): Defines =>
  Object.fromEntries(key.map((multiplier, index) => [`K${index}`, multiplier]));

const reasonDefines = (reasons: readonly { readonly name: string }[]): Defines =>
  Object.fromEntries(reasons.map(({ name }, index) => [name.toUpperCase(), index]));

async function agent(): Promise<OracleWorld> {
  const tables: AgentTables = {
    vips: Object.values(FIRST_VIP).map(wholePrefix),
    directors: [DIRECTOR, DIRECTOR_6].map(ip).map(wholePrefix),
    tunnels: defaultTunnels,
    dscp: [],
  };
  const variant = agentVariant(agentMaps(possibleCpuLimit()), tables, 0);
  const { counters } = variant.maps;
  const specs = mapsOf(variant);
  const stack = new DisposableStack();
  const maps = new Map(specs.map((spec) => [spec, stack.use(createMap(spec))]));
  const mapOf = (spec: MapSpec): BpfMap => {
    const map = maps.get(spec);
    if (map === undefined) throw new Error(`The agent has no map "${spec.name}"`);
    return map;
  };
  for (const { map, key, value } of agentEntries(variant.maps, tables)) {
    mapOf(map).update(key, value);
  }
  const link = eth("00:00:5e:00:53:fe", DIRECTOR_MAC);
  const ends = {
    sources: CLIENTS,
    destinations: {
      ipv4: [formatIp(FIRST_VIP[4]), formatIp(FIRST_VIP[4]), FOREIGN],
      ipv6: [formatIp(FIRST_VIP[6]), formatIp(FIRST_VIP[6]), "2001:db8::11"],
    },
    ports: [PORT],
  };
  return {
    image: compile(agentProgram(variant)),
    defines: {
      FOU_PORT: variant.ports.fouPort,
      FOU_PORT_IPV6: variant.ports.fouPortIpv6,
      GUE_PORT: variant.ports.guePort,
      ...countersDefines(counters),
      ...reasonDefines(agentReasons),
    },
    maps: specs,
    mapFd: (spec) => mapOf(spec).fd,
    counters: () => countersIn(mapOf(counters.map), counters),
    randomPacket: (random) => {
      if (random.chance(0.03)) return randomFrame(random, link);
      const isKnown = random.chance(0.8);
      const tos = random.below(256);
      const outer = random.chance(0.5)
        ? link.ipv4(isKnown ? DIRECTOR : STRANGER, BACKEND, { tos })
        : link.ipv6(isKnown ? DIRECTOR_6 : STRANGER_6, BACKEND_6, {
            versionClassFlow: (0x60000000 | (tos << 20)) >>> 0,
          });
      if (random.chance(0.05)) return randomPacket(random, link, ends);
      const kind = random.pick(tunnelKinds);
      if (kind !== "ipip") {
        return inTunnel(outer, kind, randomPacket(random, bare(), ends), { ports: variant.ports });
      }
      const isNested = random.chance(0.05);
      const inner = isNested ? outer.ipv4(FOREIGN, formatIp(FIRST_VIP[4])) : outer;
      return randomPacket(random, inner, ends);
    },
    [Symbol.dispose]: () => stack.dispose(),
  };
}

/** A program without maps. */
async function alone(program: Program, defines: Defines): Promise<OracleWorld> {
  const link = eth("00:00:5e:00:53:fe", DIRECTOR_MAC);
  const networks = filterRules.map(({ network }) => network);
  const ends = {
    sources: { ipv4: [...networks, ...CLIENTS.ipv4], ipv6: CLIENTS.ipv6 },
    destinations: { ipv4: [FOREIGN], ipv6: ["2001:db8::11"] },
    ports: [PORT, PORT, 5, 1030, 1045],
  };
  return {
    image: compile(program),
    defines,
    maps: [],
    mapFd: () => -1,
    counters: () => [],
    randomPacket: (random) =>
      random.chance(0.03) ? randomFrame(random, link) : randomPacket(random, link, ends),
    [Symbol.dispose]: () => {},
  };
}

const rulesInC = (): string =>
  filterRules
    .map((rule, index) => {
      const { address, mask } = networkOf(rule);
      const { protocol, ports, leastSourcePort, verdict } = rule;
      const cells = [
        index,
        `${address}u`,
        `${mask}u`,
        protocol,
        ...ports,
        leastSourcePort,
        verdict,
      ];
      return `RULE(${cells.join(",")})`;
    })
    .join(" ");

function countersIn(map: BpfMap, { regionBytes }: Counters): readonly bigint[] {
  const all = new BigUint64Array(
    (map.lookup(new Uint8Array(4)) ?? new Uint8Array()).slice().buffer,
  );
  const words = regionBytes / 8;
  return Array.from({ length: words }, (_, word) =>
    all.reduce((sum, value, index) => (index % words === word ? sum + value : sum), 0n),
  );
}
