import assert from "node:assert/strict";
import { test } from "node:test";
import { type CaseReport, goalsOf } from "./report.ts";

const report = (name: string, flows: number, netMedianNs: number, goalNs: number | null) =>
  ({
    name,
    flows,
    netMedianNs,
    goalNs,
    isGoalMet: goalNs === null ? null : netMedianNs <= goalNs,
    packets: 1000,
    netMinNs: netMedianNs,
    netLowNs: netMedianNs,
    netHighNs: netMedianNs,
    grossMedianNs: 50,
    emptyGrossMedianNs: 40,
    floorNetMedianNs: null,
    floorNetMinNs: null,
    yardstickNetMedianNs: null,
    yardstickNetMinNs: null,
  }) satisfies CaseReport;

for (const { name, cases, missed } of [
  {
    name: "nothing within",
    cases: [report("l2", 1, 15, 15), report("l2", 1e6, 14, 15)],
    missed: [],
  },
  {
    name: "a figure over its goal",
    cases: [report("l2", 1, 15.1, 15)],
    missed: ["l2, 1 flow: 15.1, at most 15 is the goal"],
  },
  {
    name: "flows too far apart",
    cases: [report("gre", 1, 12, 40), report("gre", 1e6, 25, 40)],
    missed: ["gre: 13.0 apart at 1 and 1000000 flows, at most 10 is the goal"],
  },
  { name: "no figure without a goal", cases: [report("scale", 1e6, 500, null)], missed: [] },
]) {
  test(`goalsOf() lists ${name}`, () => assert.deepEqual(goalsOf(cases).missed, missed));
}
