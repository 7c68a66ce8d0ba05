/** What the demo makes of what it sees, without a lab. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BackendStatus, DirectorStatus } from "../api/director.ts";
import type { BackendState } from "../model/model.ts";
import { type DemoFigures, DemoState, type FlowRules } from "./demo-state.ts";
import type { Failure, LoadReport } from "./load-report.ts";
import type { Reading } from "./meter.ts";
import { judge } from "./promises.ts";

const FAILURE: Failure = {
  use: "kept",
  openedAtMs: 1000,
  atMs: 2000,
  vip: "203.0.113.200",
  localPort: 10_001,
  backend: "web-1",
  kind: "ECONNRESET",
};

const backend = (name: string, weight: number, state: BackendState): BackendStatus => ({
  name,
  address: "192.0.2.11",
  forwarding: "l2",
  weight,
  state,
  buckets: 0,
  nextHop: "00:00:5e:00:53:01",
  packets: 0,
  bytes: 0,
});

const status = (web2: BackendState = "up", dropped = 0): DirectorStatus => ({
  instance: "main",
  pid: 1,
  interfaces: [],
  services: [],
  pools: [
    {
      name: "web",
      buckets: 65_536,
      backends: [backend("web-1", 10, "up"), backend("web-2", 30, web2)],
    },
  ],
  reasons: {
    forwarded: { packets: 900, bytes: 90_000 },
    not_ip: { packets: 50, bytes: 3000 },
    no_next_hop: { packets: dropped, bytes: 0 },
  },
  received: { packets: 950 + dropped, bytes: 93_000 },
});

const reading = (directorOutBytes = 0, ns = 0, runs = 0): Reading => ({
  directorOutBytes,
  clientInBytes: 1_000_000,
  program: { ns, runs },
  empty: { ns: ns / 4, runs },
});

const report = (web1: number, web2: number, failures: readonly Failure[] = []): LoadReport => ({
  kind: "report",
  requests: web1 + web2,
  downloads: 1,
  bodyBytes: 1_000_000,
  backends: {
    "web-1": { flows: web1, requests: web1 },
    "web-2": { flows: web2, requests: web2 },
  },
  latency: null,
  opened: [{ openedAtMs: 1000, atMs: 1001, vip: FAILURE.vip, localPort: 10_002, backend: "web-1" }],
  failures,
  kept: { "web-1": 3, "web-2": 5 },
});

const QUIET: FlowRules = { hadToMove: () => false, isMisplaced: () => false };
const start = { status: status(), reading: { ...reading(), clientInBytes: 0 } };

test("DemoState counts flows for shares only while all backends are up", () => {
  const state = new DemoState(start, QUIET);
  state.add({ elapsedS: 1, load: report(100, 300), status: status(), reading: reading() });
  state.change(1.1, "web-2", "web-2 is down");
  state.add({ elapsedS: 2, load: report(400, 320), status: status("down"), reading: reading() });
  state.add({ elapsedS: 3, load: report(800, 320), status: status("down"), reading: reading() });
  state.change(3.1, "web-2", "web-2 is back");
  state.add({ elapsedS: 4, load: report(900, 340), status: status(), reading: reading() });
  state.add({ elapsedS: 5, load: report(999, 399), status: status(), reading: reading() });
  const figures = state.add({
    elapsedS: 6,
    load: report(1000, 402),
    status: status(),
    reading: reading(),
  });
  assert.deepEqual(
    figures.backends.map(({ name, flows, weightShare, flowShareNow }) => [
      name,
      flows,
      weightShare,
      flowShareNow,
    ]),
    [
      ["web-1", 101, 0.25, 0.25],
      ["web-2", 303, 0.75, 0.75],
    ],
  );
  assert.equal(figures.keptOthers, 3);
  assert.deepEqual(
    figures.events.map(({ text }) => text),
    ["web-2 is down", "web-2 is back"],
  );
});

test("DemoState tells connections that had to move from errors", () => {
  const state = new DemoState(start, {
    hadToMove: ({ backend: name }) => name === "web-2",
    isMisplaced: () => false,
  });
  const failures: Failure[] = [
    FAILURE,
    { ...FAILURE, use: "fresh", kind: "timeout" },
    { ...FAILURE, backend: "web-2" },
    { ...FAILURE, backend: "web-2", use: "download" },
  ];
  const figures = state.add({
    elapsedS: 1,
    load: report(1, 1, failures),
    status: status(),
    reading: reading(),
  });
  assert.deepEqual(figures.errors, { ECONNRESET: 1, timeout: 1 });
  assert.deepEqual([figures.moved, figures.keptMoved, figures.keptBroken], [2, 1, 1]);
});

const GOOD: DemoFigures = (() => {
  const state = new DemoState(start, { hadToMove: () => true, isMisplaced: () => false });
  state.add({ elapsedS: 1, load: report(250, 750), status: status(), reading: reading() });
  state.change(1.5, "web-2", "web-2 is down");
  const load = report(250, 750, [{ ...FAILURE, backend: "web-2" }]);
  return state.add({ elapsedS: 2, load, status: status(), reading: reading(50_000, 2000, 10) });
})();

test("DemoState counts connections, and those another backend answered", () => {
  const state = new DemoState(start, {
    ...QUIET,
    isMisplaced: ({ localPort }) => localPort === 10_002,
  });
  const snapshot = { elapsedS: 1, load: report(1, 1), status: status(), reading: reading() };
  state.add(snapshot);
  const figures = state.add({ ...snapshot, elapsedS: 2 });
  assert.deepEqual([figures.connections, figures.misplaced], [2, 2]);
});

test("DemoState gives the mean run time of a program", () => {
  assert.equal(GOOD.nsPerPacket, 200);
  assert.equal(GOOD.nsPerPacketEmpty, 50);
});

const broken: readonly { name: string; change: Partial<DemoFigures>; left?: string[] }[] = [
  { name: "no errors", change: { errors: { timeout: 1 } } },
  { name: "no errors", change: { requests: 0 } },
  { name: "flows follow the table", change: { misplaced: 1 } },
  { name: "flows follow the table", change: { connections: 0 } },
  { name: "nothing dropped", change: { dropped: 1 } },
  {
    name: "shares follow weights",
    change: {
      backends: GOOD.backends.map((one) => ({
        ...one,
        flowShare: one.name === "web-1" ? 0.32 : 0.68,
      })),
    },
  },
  { name: "others kept their flows", change: { keptBroken: 1 } },
  { name: "others kept their flows", change: { keptOthers: 0 } },
  { name: "others kept their flows", change: { keptMoved: 0 } },
  { name: "answers bypass it", change: { directorOutBytes: 100_000 } },
  { name: "everything taken down", change: {}, left: ["process 7 (node)"] },
];

test("judge() finds that all promises held", () => {
  assert.deepEqual(
    judge(GOOD, { left: [] }).filter(({ held }) => !held),
    [],
  );
});

for (const { name, change, left = [] } of broken) {
  test(`judge() sees that "${name}" did not hold: ${JSON.stringify(change).slice(0, 40)}`, () => {
    const failed = judge({ ...GOOD, ...change }, { left }).filter(({ held }) => !held);
    assert.deepEqual(
      failed.map((promise) => promise.name),
      [name],
    );
  });
}
