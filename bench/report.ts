/** The figures as a table for people, and as JSON. */
import { formatTable } from "../src/cli/table.ts";
import type { Figures } from "./figures.ts";
import type { Machine } from "./machine.ts";
import type { Measured } from "./measure.ts";
import type { Rate } from "./pps.ts";
import { FLOWS_ENDLESS } from "./traffic.ts";

export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  /** Per round. */
  readonly packets: number;
  readonly cases: readonly CaseReport[];
}

/** Nanoseconds a packet; `null` where nothing stands beside the case. */
export interface CaseReport extends Figures {
  readonly name: string;
  /** Different flows the packets were of. */
  readonly flows: number;
  readonly goalNs: number | null;
  readonly emptyGrossMedianNs: number;
  readonly floorNetMedianNs: number | null;
  readonly floorNetMinNs: number | null;
  readonly yardstickNetMedianNs: number | null;
  readonly yardstickNetMinNs: number | null;
}

export function caseReport({ subject, figures, emptyGrossMedianNs }: Measured): CaseReport {
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
  return { name, flows: traffic.flows, goalNs, ...rounded };
}

export function formatReport({ machine, rounds, packets, cases }: Report): string {
  const rows = cases.map((each) => [
    each.name,
    each.flows === FLOWS_ENDLESS ? "all new" : String(each.flows),
    ns(each.netMedianNs),
    `${ns(each.netLowNs)} to ${ns(each.netHighNs)}`,
    ns(each.netMinNs),
    ns(each.grossMedianNs),
    ns(each.floorNetMedianNs),
    ns(each.yardstickNetMedianNs),
    each.goalNs === null
      ? ""
      : `${each.netMedianNs <= each.goalNs ? "within" : "over"} ${each.goalNs}`,
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
    ...spreads(cases),
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
    percent(rate.floorShare),
    rate.share >= SHARE_GOAL ? "reached" : "missed",
  ]);
  const goal = `goal ${SHARE_GOAL * 100} %`;
  const header = ["case", "flows", "packets/s", "bare XDP_TX", "share", "floor's", goal];
  return [...machineLines(facts), "", formatTable(header, rows)].join("\n");
}

export const machineLines = ({ cpu, cpus, kernel, mitigations }: Machine): readonly string[] => [
  `${cpu}, ${cpus} CPUs, Linux ${kernel}`,
  ...Object.entries(mitigations).map(([name, state]) => `${name}: ${state}`),
];

/** Furthest apart that one case may be at one flow and at a million. */
const SPREAD_GOAL_NS = 10;

function spreads(cases: readonly CaseReport[]): readonly string[] {
  const lines = cases
    .filter(({ flows }) => flows === 1)
    .flatMap(({ name, netMedianNs }) => {
      const many = cases.find((other) => other.name === name && other.flows === 1_000_000);
      if (many === undefined) return [];
      const apart = many.netMedianNs - netMedianNs;
      const verdict = Math.abs(apart) <= SPREAD_GOAL_NS ? "within" : "over";
      return [
        `${name}: ${ns(apart)} more at 1000000 flows than at 1, ${verdict} ${SPREAD_GOAL_NS}`,
      ];
    });
  return lines.length === 0 ? [] : ["", ...lines];
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

const ns = (value: number | null): string => (value === null ? "" : value.toFixed(1));
