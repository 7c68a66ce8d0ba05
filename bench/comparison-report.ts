/** The comparison with clang as a table for people, and as JSON. */
import { formatTable } from "../src/cli/table.ts";
import type { Comparison } from "./comparison.ts";
import type { Machine } from "./machine.ts";
import { machineLines } from "./report.ts";

export interface ComparisonReport {
  readonly machine: Machine;
  /** Its version, as it says. */
  readonly clang: string;
  readonly rounds: number;
  /** Per round. */
  readonly packets: number;
  readonly comparisons: readonly Comparison[];
}

/** The most of clang's time that ours may take, net. */
const RATIO_GOAL = 1.05;

export function formatComparison(report: ComparisonReport): string {
  const { machine, clang, rounds, packets, comparisons } = report;
  const rows = comparisons.map(({ name, ours, clangs, ratio }) => [
    name,
    fixed(ours.figures.netMedianNs, 1),
    fixed(clangs.figures.netMedianNs, 1),
    fixed(ratio.median, 2),
    `${fixed(ratio.low, 2)} to ${fixed(ratio.high, 2)}`,
    ratio.median <= RATIO_GOAL ? `within ${RATIO_GOAL}` : `over ${RATIO_GOAL}`,
    `${fixed(ours.figures.grossMedianNs, 1)} / ${fixed(clangs.figures.grossMedianNs, 1)}`,
    `${ours.emitted} / ${clangs.emitted}`,
    ours.emitted <= clangs.emitted ? "within" : "over",
    `${ours.xlated} / ${clangs.xlated}`,
    `${ours.jitBytes} / ${clangs.jitBytes}`,
  ]);
  const header = [
    "program",
    "ours",
    "clang",
    "ratio",
    "half of pieces",
    "goal",
    "gross",
    "instructions",
    "goal",
    "xlated",
    "JIT bytes",
  ];
  return [
    ...machineLines(machine),
    clang,
    `${rounds} rounds of ${packets} packets; nanoseconds a packet, net of the wrapper but for "gross"; ours / clang's`,
    "",
    formatTable(header, rows),
  ].join("\n");
}

export const comparisonJson = (report: ComparisonReport): string =>
  JSON.stringify(report, (_, value: unknown) =>
    typeof value === "number" ? Number(value.toFixed(3)) : value,
  );

const fixed = (value: number, digits: number): string => value.toFixed(digits);
