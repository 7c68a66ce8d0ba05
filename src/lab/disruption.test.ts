import assert from "node:assert/strict";
import { test } from "node:test";
import { Disruption } from "./disruption.ts";

/** Ports of web-2 are even. */
const disruption = new Disruption("web-2", ({ localPort }) =>
  localPort % 2 === 0 ? "web-2" : "web-1",
);
disruption.begin(1000)(1010);
disruption.begin(2000)(2010);

const VIP = "203.0.113.200";

const moves: readonly { name: string; port: number; lives: [number, number]; moved: boolean }[] = [
  { name: "broke before it went", port: 2, lives: [0, 999], moved: false },
  { name: "lived when it went", port: 2, lives: [0, 1001], moved: true },
  { name: "was opened while it went", port: 2, lives: [1005, 1300], moved: true },
  { name: "came and broke while it was gone", port: 2, lives: [1011, 1999], moved: false },
  { name: "lived when it came back", port: 2, lives: [1500, 2500], moved: true },
  { name: "was opened afterwards", port: 2, lives: [2011, 2500], moved: false },
  { name: "is another backend's", port: 1, lives: [0, 3000], moved: false },
];

for (const { name, port, lives, moved } of moves) {
  test(`hadToMove() of a connection that ${name}: ${moved}`, () => {
    const [openedAtMs, atMs] = lives;
    const failure = { use: "kept", openedAtMs, atMs, vip: VIP, localPort: port } as const;
    assert.equal(disruption.hadToMove({ ...failure, backend: null, kind: "ECONNRESET" }), moved);
  });
}

const flows: readonly {
  name: string;
  port: number;
  lives: [number, number];
  backend: string;
  misplaced: boolean;
}[] = [
  { name: "its owner, before", port: 2, lives: [0, 10], backend: "web-2", misplaced: false },
  { name: "another, before", port: 2, lives: [0, 10], backend: "web-1", misplaced: true },
  {
    name: "either, while it goes",
    port: 2,
    lives: [999, 1001],
    backend: "web-1",
    misplaced: false,
  },
  {
    name: "its owner, while it goes",
    port: 2,
    lives: [999, 1001],
    backend: "web-2",
    misplaced: false,
  },
  { name: "another, meanwhile", port: 2, lives: [1100, 1200], backend: "web-1", misplaced: false },
  {
    name: "its owner, which is down",
    port: 2,
    lives: [1100, 1200],
    backend: "web-2",
    misplaced: true,
  },
  {
    name: "its owner, afterwards",
    port: 2,
    lives: [2100, 2200],
    backend: "web-2",
    misplaced: false,
  },
  { name: "another, afterwards", port: 2, lives: [2100, 2200], backend: "web-1", misplaced: true },
  {
    name: "the owner that stayed",
    port: 1,
    lives: [1100, 1200],
    backend: "web-1",
    misplaced: false,
  },
  {
    name: "not the owner that stayed",
    port: 1,
    lives: [999, 1001],
    backend: "web-2",
    misplaced: true,
  },
];

for (const { name, port, lives, backend, misplaced } of flows) {
  test(`isMisplaced() of a connection answered by ${name}: ${misplaced}`, () => {
    const [openedAtMs, atMs] = lives;
    const flow = { openedAtMs, atMs, vip: VIP, localPort: port, backend };
    assert.equal(disruption.isMisplaced(flow), misplaced);
  });
}

test("before any change nothing has to move", () => {
  const quiet = new Disruption("web-2", () => "web-2");
  const flow = { openedAtMs: 0, atMs: 1, vip: VIP, localPort: 1 };
  assert.equal(quiet.hadToMove({ ...flow, use: "fresh", backend: "web-2", kind: "x" }), false);
  assert.equal(quiet.isMisplaced({ ...flow, backend: "web-2" }), false);
  assert.equal(quiet.isMisplaced({ ...flow, backend: "web-1" }), true);
});
