/** What people see, as text: no line is wider than a terminal, nothing jumps while it is redrawn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import type { DemoFigures } from "./demo-state.ts";
import { formatBytes, formatCount } from "./figures.ts";
import { backendsOf, LAB_DIRECTOR_CONFIG } from "./lab.ts";
import { drawNetwork } from "./picture.ts";
import { judge } from "./promises.ts";
import { readDirectorConfig } from "../config/read.ts";
import { drawLive, drawSummary } from "./screen.ts";
import { shellArgv } from "./shell.ts";
import { styleFor } from "./style.ts";
import { labTopology } from "./topology.ts";

const PLAIN = styleFor(false, {});
const TERMINAL = styleFor(true, {});

const figures: DemoFigures = {
  elapsedS: 5.06,
  requests: 10_114,
  requestsPerSecond: 1007.4,
  downloads: 720,
  bodyBytes: 7.2e8,
  latency: { p50Ms: 11.84, p99Ms: 64.02 },
  errors: {},
  connections: 2000,
  misplaced: 0,
  moved: 17,
  keptOpen: 32,
  keptOthers: 23,
  keptMoved: 9,
  keptBroken: 0,
  directorInBytes: 20_180_000,
  directorOutBytes: 22_840_000,
  clientInBytes: 770_000_000,
  packets: 253_825,
  dropped: 0,
  nsPerPacket: 196.3,
  nsPerPacketEmpty: 69.4,
  backends: [
    {
      name: "web-1",
      forwarding: "l2",
      state: "up",
      weightShare: 0.25,
      flowShare: 0.241,
      flowShareNow: 0.271,
      flows: 500,
      requests: 2500,
      packets: 75_011,
      bytes: 5_950_000,
    },
    {
      name: "web-3",
      forwarding: "ipip",
      state: "down",
      weightShare: 0.75,
      flowShare: 0.759,
      flowShareNow: 0,
      flows: 1500,
      requests: 7500,
      packets: 132_618,
      bytes: 10_620_000,
    },
  ],
  events: [{ atS: 3.5, text: "web-3 is down" }],
};

const network = async (): Promise<readonly string[]> => {
  const config = await readDirectorConfig(LAB_DIRECTOR_CONFIG);
  return drawNetwork(labTopology(), config, backendsOf(config), PLAIN);
};

test("drawNetwork() draws the example's network", async () => {
  assert.equal(
    (await network()).join("\n"),
    `
                            ┌── director   192.0.2.2
  ┌────────┐   ┌────────┐   │
  │ client ├───┤ router ├───┼── backend-1  192.0.2.11    web-1  l2    weight 10
  └────────┘   └────┬───┘   │
  198.51.100.10     │       └── backend-2  192.0.2.12    web-2  l2    weight 10
                    │
                    └────────── backend-3  203.0.113.13  web-3  ipip  weight 20

  request  client → router → director → backend
  answer   backend → router → client
  VIPs     203.0.113.200, 2001:db8:f::200; TCP port 80`.slice(1),
  );
});

test("drawLive() is the table of a moment", () => {
  assert.equal(drawLive(figures, 10, PLAIN).join("\n"), LIVE);
});

const LIVE = `
  time          5.1 s of 10 s   web-3 is down since 3.5 s
  requests      1 007 a second   p50 11.8 ms, p99 64.0 ms   0 errors
  kept open     32 connections   0 broken   9 moved with their backend

  backend   state  weight    flows  now                      packets     bytes
  web-1     up     25.0 %   24.1 %  ███░░░░░░░░░  27.1 %      75 011   5.95 MB
  web-3     down   75.0 %   75.9 %  ░░░░░░░░░░░░   0.0 %     132 618   10.6 MB

  director      253 825 packets, 0 dropped
                in 20.2 MB by its counters, out 22.8 MB by tx_bytes of eth0
  client        in 770 MB by rx_bytes of eth0
  bypass        the director sent 3.0 % of what the client received
  program       127 ns a packet: 196, less 69 that an empty program takes`.slice(1);

test("nothing is wider than 79 columns, coloured or not", async () => {
  const huge: DemoFigures = {
    ...figures,
    elapsedS: 599.9,
    requestsPerSecond: 99_999,
    latency: { p50Ms: 1234.5, p99Ms: 2999.9 },
    errors: { ECONNRESET: 12_345 },
    packets: 999_999_999,
    dropped: 99_999,
    backends: figures.backends.map((one) => ({
      ...one,
      weightShare: 1,
      flowShare: 1,
      flowShareNow: 1,
      packets: 99_999_999,
    })),
  };
  for (const style of [PLAIN, TERMINAL]) {
    for (const shown of [figures, huge]) {
      const lines = [
        ...(await network()),
        ...drawLive(shown, 600, style),
        ...drawSummary(judge(shown, { left: ["process 1234 (node)"] }), style),
      ].map((line) => stripVTControlCharacters(line));
      assert.deepEqual(
        lines.filter((line) => line.length > 79),
        [],
      );
    }
  }
});

test("drawLive() has the same height from the first moment on", () => {
  const first: DemoFigures = {
    ...figures,
    latency: null,
    nsPerPacket: null,
    events: [],
    clientInBytes: 0,
  };
  assert.equal(drawLive(first, 10, PLAIN).length, drawLive(figures, 10, PLAIN).length);
});

test("styleFor() writes escape codes to terminals that want them only", () => {
  assert.equal(TERMINAL.bold("x"), "\x1b[1mx\x1b[22m");
  for (const style of [
    PLAIN,
    styleFor(true, { NO_COLOR: "1" }),
    styleFor(true, { TERM: "dumb" }),
  ]) {
    assert.equal(style.bold("x"), "x");
  }
});

test("formatBytes() has three digits, formatCount() groups by three", () => {
  const bytes = [0, 999, 1000, 9994, 9996, 99_960, 999_499, 999_500, 1.5e9, 7e14];
  assert.deepEqual(bytes.map(formatBytes), [
    "0 B",
    "999 B",
    "1.00 kB",
    "9.99 kB",
    "10.0 kB",
    "100 kB",
    "999 kB",
    "1.00 MB",
    "1.50 GB",
    "700 TB",
  ]);
  assert.deepEqual([0, 999, 1000, 1234567].map(formatCount), ["0", "999", "1 000", "1 234 567"]);
});

test("shellArgv() runs a shell, a command, or this very carom", () => {
  assert.deepEqual(shellArgv([], true), ["bash", "--norc", "--noprofile"]);
  assert.deepEqual(shellArgv([], false), ["sh"]);
  assert.deepEqual(shellArgv(["ip", "route"], true), ["ip", "route"]);
  assert.deepEqual(shellArgv(["carom", "status"], true).slice(-1), ["status"]);
  assert.equal(shellArgv(["carom", "status"], true)[0], process.execPath);
});
