/** The figures as a table for people, and as JSON. */
import { formatTable } from "../src/cli/table.ts";
import type { Figures } from "./figures.ts";
import type { Machine } from "./machine.ts";
import { type Measured, packetsOf } from "./measure.ts";
import type { Rate } from "./pps.ts";
import { FLOWS_ENDLESS } from "./traffic.ts";

export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  /** Per round; some cases have a share of them. */
  readonly packets: number;
  readonly cases: readonly CaseReport[];
  readonly goals: Goals;
}

export interface Goals {
  /** How much more a case costs at a million flows than at one. */
  readonly spreads: readonly {
    readonly name: string;
    readonly apartNs: number;
    readonly goalNs: number;
    readonly isGoalMet: boolean;
  }[];
  /** A sentence for each goal that is missed. */
  readonly missed: readonly string[];
}

/** Nanoseconds a packet; `null` where nothing stands beside the case. */
export interface CaseReport extends Figures {
  readonly name: string;
  /** Different flows the packets were of. */
  readonly flows: number;
  /** Of each program in each round. */
  readonly packets: number;
  readonly goalNs: number | null;
  readonly isGoalMet: boolean | null;
  readonly emptyGrossMedianNs: number;
  readonly floorNetMedianNs: number | null;
  readonly floorNetMinNs: number | null;
  readonly yardstickNetMedianNs: number | null;
  readonly yardstickNetMinNs: number | null;
}

export function caseReport(
  { subject, figures, emptyGrossMedianNs }: Measured,
  packets: number,
): CaseReport {
  const { name, traffic, goalNs } = subject.case;
  const { director, floor, yardstick } = figures;
  if (director === undefined) throw new Error(`"${name}" was measured without a director`);
  const numbers = {
    ...director,
    emptyGrossMedianNs,
    floorNetMedianNs: floor?.netMedianNs ?? null,
    floorNetMinNs: floor?.netMinNs ?? null,
    yardstickNetMedianNs: yardstick?.netMedianNs ?? null,
    yardstickNetMinNs: yardstick?.netMinNs ?? null,
  };
  const rounded = Object.fromEntries(
    Object.entries(numbers).map(([key, ns]) => [key, ns === null ? null : Number(ns.toFixed(2))]),
  ) as typeof numbers;
  const isGoalMet = goalNs === null ? null : rounded.netMedianNs <= goalNs;
  const { flows } = traffic;
  return { name, flows, packets: packetsOf(subject.case, packets), goalNs, isGoalMet, ...rounded };
}

/** Furthest apart that one case may be at one flow and at a million. */
const SPREAD_GOAL_NS = 10;
const MANY_FLOWS = 1_000_000;

export function goalsOf(cases: readonly CaseReport[]): Goals {
  const spreads = cases
    .filter(({ flows }) => flows === 1)
    .flatMap(({ name, netMedianNs }) => {
      const many = cases.find((other) => other.name === name && other.flows === MANY_FLOWS);
      if (many === undefined) return [];
      const apartNs = Number((many.netMedianNs - netMedianNs).toFixed(2));
      const isGoalMet = Math.abs(apartNs) <= SPREAD_GOAL_NS;
      return [{ name, apartNs, goalNs: SPREAD_GOAL_NS, isGoalMet }];
    });
  const missed = [
    ...cases
      .filter(({ isGoalMet }) => isGoalMet === false)
      .map(
        ({ name, flows, netMedianNs, goalNs }) =>
          `${name}, ${flowsText(flows)}: ${ns(netMedianNs)}, at most ${String(goalNs)} is the goal`,
      ),
    ...spreads
      .filter(({ isGoalMet }) => !isGoalMet)
      .map(
        ({ name, apartNs }) =>
          `${name}: ${ns(apartNs)} apart at 1 and ${MANY_FLOWS} flows, at most ${SPREAD_GOAL_NS} is the goal`,
      ),
  ];
  return { spreads, missed };
}

const flowsText = (flows: number): string =>
  flows === FLOWS_ENDLESS ? "all new" : `${flows} ${flows === 1 ? "flow" : "flows"}`;

export function formatReport({ machine, rounds, packets, cases, goals }: Report): string {
  const rows = cases.map((each) => [
    each.name,
    each.flows === FLOWS_ENDLESS ? "all new" : String(each.flows),
    ns(each.netMedianNs),
    `${ns(each.netLowNs)} to ${ns(each.netHighNs)}`,
    ns(each.netMinNs),
    ns(each.grossMedianNs),
    ns(each.floorNetMedianNs),
    ns(each.yardstickNetMedianNs),
    each.goalNs === null ? "" : `${each.isGoalMet === true ? "within" : "OVER"} ${each.goalNs}`,
  ]);
  const header = [
    "case",
    "flows",
    "net",
    "half of rounds",
    "min",
    "gross",
    "floor",
    "yardstick",
    "goal",
  ];
  return [
    ...machineLines(machine),
    `${rounds} rounds of ${packets} packets; nanoseconds a packet, net of the wrapper but for "gross"`,
    "",
    formatTable(header, rows),
    ...goalLines(cases, goals),
  ].join("\n");
}

/** The least share of bare XDP_TX that the director should reach. */
const SHARE_GOAL = 0.95;

export function formatRates(facts: Machine, rates: readonly Rate[]): string {
  const rows = rates.map((rate) => [
    rate.name,
    String(rate.flows),
    String(rate.packetsPerSecond),
    String(rate.barePacketsPerSecond),
    percent(rate.share),
    rate.floorShare === null ? "" : percent(rate.floorShare),
    rate.movedShare === null ? "" : percent(rate.movedShare),
    rate.share >= SHARE_GOAL ? "reached" : "missed",
  ]);
  const goal = `goal ${SHARE_GOAL * 100} %`;
  const header = [
    "case",
    "flows",
    "packets/s",
    "bare XDP_TX",
    "share",
    "floor's",
    "adjust_head alone",
    goal,
  ];
  return [...machineLines(facts), "", formatTable(header, rows)].join("\n");
}

export const machineLines = ({ cpu, cpus, kernel, mitigations }: Machine): readonly string[] => [
  `${cpu}, ${cpus} CPUs, Linux ${kernel}`,
  ...Object.entries(mitigations).map(([name, state]) => `${name}: ${state}`),
];

function goalLines(cases: readonly CaseReport[], { spreads, missed }: Goals): readonly string[] {
  const withGoal = cases.filter(({ goalNs }) => goalNs !== null).length;
  const apart = spreads.map(({ apartNs }) => apartNs);
  const lines = [
    ...(spreads.length === 0
      ? []
      : [
          `${ns(Math.min(...apart))} to ${ns(Math.max(...apart))} more at ${MANY_FLOWS} flows than at 1, ${spreads.length} pairs`,
        ]),
    `Goals: ${withGoal + spreads.length - missed.length} of ${withGoal + spreads.length} met`,
    ...missed.map((each) => `MISSED  ${each}`),
  ];
  return ["", ...lines];
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

const ns = (value: number | null): string => (value === null ? "" : value.toFixed(1));
