/** What is measured: which packets meet which world, and what we want it to cost. */
import type { DirectorReason } from "../src/datapath/reasons.ts";
import { hashKeys } from "../src/model/model.ts";
import { type FloorWay, floorWays } from "./floor.ts";
import { type Family, FLOWS_ENDLESS, type Traffic } from "./traffic.ts";
import {
  canForward,
  FIRST_VIP,
  FOREIGN,
  plainWorld,
  SCALE_WORLD,
  vipOf,
  type Way,
  ways,
  type World,
} from "./world.ts";

export interface Case {
  readonly name: string;
  readonly world: World;
  readonly traffic: Traffic;
  /** What becomes of every packet. */
  readonly reason: DirectorReason;
  /** The floor beside it: its own world and traffic, where it cannot do with those of the case. */
  readonly floor: {
    readonly world: World & { readonly way: FloorWay };
    readonly traffic: Traffic;
  } | null;
  /** Nanoseconds, net median, that product and issue ask for. */
  readonly goalNs: number | null;
  /** Of the packets of a round. */
  readonly share: number;
  /** Part of `--quick`. */
  readonly quick: boolean;
  /** A hash map of services and an LRU of flows are measured beside it. */
  readonly yardstick: boolean;
}

/** Flows of a case that is measured at several numbers of them. */
const FLOWS = [1, 1000, 64_000, 1_000_000] as const;
const FEW_AND_MANY: readonly number[] = [1, 1_000_000];
const FOREIGN_DESTINATIONS = 200;
/** Of a prefix, from the first VIP on. */
const PREFIX_DESTINATIONS = 200;

const GOAL_NS = { l2: 15, tunnel: 30, foreign: 10 } as const;
/** With every feature configured; and with any that is used beyond l2 and ipip. */
const GOAL_FEATURES_NS = { l2: 20, tunnel: 40 } as const;
/** Cases that there are many of have fewer packets a round. */
const SHARE_OF_MANY = 0.3;

interface Kind {
  readonly family: Family;
  readonly way: Way;
}

const main: readonly Kind[] = [
  { family: 4, way: "l2" },
  { family: 6, way: "l2" },
  { family: 4, way: "ipip4" },
  { family: 6, way: "ipip6" },
  { family: 4, way: "ipip6" },
  { family: 6, way: "ipip4" },
];
/** One director with all there is to configure. */
const EVERYTHING: World = { ...plainWorld(4, "l2"), everything: true };

const families = [4, 6] as const;
const wayNames = Object.keys(ways) as readonly Way[];

/** "ipip ipv4 in ipv6": the forwarding, the clients' family, and that of the outer header if it is another. */
function nameOf({ family, way }: Kind): string {
  const { forwarding, family: outer } = ways[way];
  const isTunnel = forwarding !== "l2" && forwarding !== "dscp";
  return `${forwarding} ipv${family}${isTunnel && outer !== family ? ` in ipv${outer}` : ""}`;
}

/** All cases, in the order of the table. */
export const cases: readonly Case[] = [
  ...main.flatMap((kind) =>
    FLOWS.map((flows) =>
      caseOf(kind, {
        flows,
        quick: ["l2 ipv4", "ipip ipv4"].includes(nameOf(kind)) && FEW_AND_MANY.includes(flows),
        yardstick: hasYardstick(kind),
      }),
    ),
  ),
  ...main.map((kind) =>
    caseOf(kind, {
      name: "syn",
      traffic: { kind: "syn" },
      flows: FLOWS_ENDLESS,
      yardstick: nameOf(kind) === "l2 ipv4",
    }),
  ),
  ...fewAndMany(main, { name: "udp", traffic: { kind: "udp" } }),
  ...families.flatMap((family) =>
    FEW_AND_MANY.map((flows) => foreign(family, flows, { quick: family === 4 })),
  ),
  ...fewAndMany(kindsOf(wayNames.filter((way) => !["l2", "ipip"].includes(ways[way].forwarding))), {
    isFeature: true,
  }),
  ...[1, 2].flatMap((tags) =>
    fewAndMany(
      main.filter(({ family, way }) => way === "l2" || way === `ipip${family}`),
      {
        name: `${tags} VLAN tag${tags === 1 ? "" : "s"}`,
        world: { tags },
        traffic: { tags },
        isFeature: true,
      },
    ),
  ),
  ...families.flatMap((family) =>
    fewAndMany(
      main.filter((kind) => kind.family === family && ["l2", `ipip${family}`].includes(kind.way)),
      {
        name: family === 4 ? "options" : "extension headers",
        traffic: { hasOptions: true },
        isFeature: true,
      },
    ),
  ),
  ...(["range", "all", "prefix"] as const).flatMap((search) =>
    fewAndMany(kindsOf(["l2"]), {
      name: { range: "port range", all: "all ports", prefix: "prefix" }[search],
      world: { search },
      traffic: search === "prefix" ? { destinations: PREFIX_DESTINATIONS } : {},
      isFeature: true,
    }),
  ),
  ...hashKeys
    .filter((hashKey) => hashKey !== "five-tuple")
    .flatMap((hashKey) =>
      fewAndMany(kindsOf(["l2"]), { name: `by ${hashKey}`, world: { hashKey }, isFeature: true }),
    ),
  ...fewAndMany(kindsOf(["fou4", "gue6"]), {
    name: "udp checksum",
    world: { udpChecksum: true },
    isFeature: true,
  }),
  ...kindsOf(wayNames).flatMap((kind) =>
    FEW_AND_MANY.map((flows) => everyFeature(kind, flows, "exact")),
  ),
  ...kindsOf(["l2", "ipip4", "gre6", "fou4", "gue6", "dscp4", "dscp6"])
    .filter(({ family, way }) => way === "l2" || ways[way].family === family)
    .flatMap((kind) => FEW_AND_MANY.map((flows) => everyFeature(kind, flows, "wide"))),
  ...families.map((family) => ({
    ...foreign(family, 1_000_000),
    name: `pass ipv${family} every feature`,
    world: EVERYTHING,
    goalNs: null,
  })),
  {
    ...caseOf({ family: 4, way: "l2" }, { flows: 1_000_000 }),
    name: "scale",
    world: SCALE_WORLD,
    traffic: {
      family: 4,
      kind: "established",
      flows: 1_000_000,
      destination: FIRST_VIP[4],
      destinations: SCALE_WORLD.services,
    },
    goalNs: null,
  },
];

interface Given {
  /** Behind what is forwarded how. */
  readonly name?: string;
  readonly flows: number;
  readonly world?: Partial<World>;
  readonly traffic?: Partial<Traffic>;
  /** Something that is not in every program, or a way of its own. */
  readonly isFeature?: boolean;
  readonly quick?: boolean;
  readonly yardstick?: boolean;
}

function caseOf({ family, way }: Kind, given: Given): Case {
  const { flows, isFeature = false } = given;
  const world: World = { ...plainWorld(family, way), ...given.world };
  const plain: Traffic = {
    family,
    kind: "established",
    flows,
    destination: FIRST_VIP[family],
    destinations: 1,
  };
  const isReaddressed = ways[way].forwarding === "dscp";
  const traffic = { ...plain, ...(isReaddressed && { isReaddressed }), ...given.traffic };
  const goals = isFeature ? GOAL_FEATURES_NS : GOAL_NS;
  const name = nameOf({ family, way });
  return {
    name: given.name === undefined ? name : `${name} ${given.name}`,
    world,
    traffic,
    reason: "forwarded",
    floor: isFeature ? null : floorBeside({ family, way }, traffic),
    goalNs: way === "l2" ? goals.l2 : goals.tunnel,
    share: isFeature ? SHARE_OF_MANY : 1,
    quick: given.quick ?? false,
    yardstick: given.yardstick ?? false,
  };
}

function fewAndMany(kinds: readonly Kind[], given: Omit<Given, "flows">): readonly Case[] {
  return kinds.flatMap((kind) => FEW_AND_MANY.map((flows) => caseOf(kind, { ...given, flows })));
}

/** Every family of clients with each way that takes it. */
function kindsOf(chosen: readonly Way[]): readonly Kind[] {
  return chosen.flatMap((way) =>
    families.filter((family) => canForward(family, way)).map((family) => ({ family, way })),
  );
}

/** The floor has one service: it stands beside larger worlds for what is possible at all. */
function floorBeside({ family, way }: Kind, traffic: Traffic): Case["floor"] {
  const own = floorWays.find((each) => each === way);
  if (own === undefined) return null;
  return { world: { ...plainWorld(family, own), way: own }, traffic };
}

function foreign(family: Family, flows: number, given: Partial<Given> = {}): Case {
  const traffic: Traffic = {
    family,
    kind: "established",
    flows,
    destination: FOREIGN[family],
    destinations: FOREIGN_DESTINATIONS,
  };
  return {
    ...caseOf({ family, way: "l2" }, { ...given, flows, traffic }),
    name: `pass ipv${family}`,
    reason: "not_a_service",
    goalNs: GOAL_NS.foreign,
  };
}

/** A packet by the usual way through it, or by all that it has: a search, a hash key, VLAN tags. */
function everyFeature(kind: Kind, flows: number, service: "exact" | "wide"): Case {
  const { family, way } = kind;
  const tags = service === "wide" ? 2 : 0;
  const base = caseOf(kind, {
    name: service === "exact" ? "every feature" : "every feature used",
    flows,
    world: { ...EVERYTHING, family, way, ...(tags > 0 && { tags }) },
    traffic: { destination: vipOf(family, way, service), ...(tags > 0 && { tags }) },
    isFeature: true,
  });
  const plain = caseOf(kind, { flows });
  return service === "exact" ? { ...base, floor: plain.floor } : { ...base, goalNs: null };
}

/** The yardstick is an IPv4 program without flow labels. */
function hasYardstick({ family, way }: Kind): boolean {
  return family === 4 && way !== "ipip6";
}
