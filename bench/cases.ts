/** What is measured: which packets meet which world, and what we want it to cost. */
import type { DirectorReason } from "../src/datapath/reasons.ts";
import { type Family, FLOWS_ENDLESS, type Traffic } from "./traffic.ts";
import { FIRST_VIP, FOREIGN, plainWorld, SCALE_WORLD, type Way, type World } from "./world.ts";

export interface Case {
  readonly name: string;
  readonly world: World;
  readonly traffic: Traffic;
  /** What becomes of every packet. */
  readonly reason: DirectorReason;
  /** Every feature is in the program, needed or not. */
  readonly everyFeature: boolean;
  /** Nanoseconds, net median, that product and issue ask for. */
  readonly goalNs: number | null;
  /** Part of `--quick`. */
  readonly quick: boolean;
  /** A hash map of services and an LRU of flows are measured beside it. */
  readonly yardstick: boolean;
}

/** Flows of a case that is measured at several numbers of them. */
const FLOWS = [1, 1000, 64_000, 1_000_000] as const;
const FEW_AND_MANY: readonly number[] = [1, 1_000_000];
const FOREIGN_DESTINATIONS = 200;

const GOAL_NS = { l2: 15, tunnel: 30, foreign: 10 } as const;
const GOAL_EVERY_FEATURE_NS = { l2: 20, tunnel: 40 } as const;

const ways: readonly { readonly name: string; readonly family: Family; readonly way: Way }[] = [
  { name: "l2 ipv4", family: 4, way: "l2" },
  { name: "l2 ipv6", family: 6, way: "l2" },
  { name: "ipip ipv4", family: 4, way: "ipip4" },
  { name: "ipip ipv6", family: 6, way: "ipip6" },
  { name: "ipip ipv4 in ipv6", family: 4, way: "ipip6" },
  { name: "ipip ipv6 in ipv4", family: 6, way: "ipip4" },
];

/** All cases, in the order of the table. */
export const cases: readonly Case[] = [
  ...ways.flatMap((each) =>
    FLOWS.map((flows) =>
      caseOf(each, {
        flows,
        quick: ["l2 ipv4", "ipip ipv4"].includes(each.name) && FEW_AND_MANY.includes(flows),
        yardstick: hasYardstick(each),
      }),
    ),
  ),
  ...ways.map((each) =>
    caseOf(each, {
      suffix: "syn",
      kind: "syn",
      flows: FLOWS_ENDLESS,
      yardstick: each.name === "l2 ipv4",
    }),
  ),
  ...ways.flatMap((each) =>
    FEW_AND_MANY.map((flows) => caseOf(each, { suffix: "udp", kind: "udp", flows })),
  ),
  ...ways
    .slice(0, 3)
    .flatMap((each) =>
      FEW_AND_MANY.map((flows) =>
        caseOf(each, { suffix: "every feature", flows, everyFeature: true }),
      ),
    ),
  ...([4, 6] as const).flatMap((family) =>
    FEW_AND_MANY.map((flows) => ({
      ...caseOf({ name: `pass ipv${family}`, family, way: "l2" }, { flows, quick: family === 4 }),
      traffic: {
        family,
        kind: "established" as const,
        flows,
        destination: FOREIGN[family],
        destinations: FOREIGN_DESTINATIONS,
      },
      reason: "not_a_service" as const,
      goalNs: GOAL_NS.foreign,
    })),
  ),
  {
    ...caseOf({ name: "scale", family: 4, way: "l2" }, { flows: 1_000_000 }),
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

function caseOf(
  { name, family, way }: (typeof ways)[number],
  options: {
    readonly flows: number;
    readonly suffix?: string;
    readonly kind?: Traffic["kind"];
    readonly everyFeature?: boolean;
    readonly quick?: boolean;
    readonly yardstick?: boolean;
  },
): Case {
  const { flows, suffix, kind = "established", everyFeature = false } = options;
  const goals = everyFeature ? GOAL_EVERY_FEATURE_NS : GOAL_NS;
  return {
    name: suffix === undefined ? name : `${name} ${suffix}`,
    world: plainWorld(family, way),
    traffic: { family, kind, flows, destination: FIRST_VIP[family], destinations: 1 },
    reason: "forwarded",
    everyFeature,
    goalNs: way === "l2" ? goals.l2 : goals.tunnel,
    quick: options.quick ?? false,
    yardstick: options.yardstick ?? false,
  };
}

/** The yardstick is an IPv4 program without flow labels. */
function hasYardstick({ family, way }: (typeof ways)[number]): boolean {
  return family === 4 && way !== "ipip6";
}
