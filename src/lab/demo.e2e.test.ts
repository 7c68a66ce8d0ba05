/** The demo as typed: stopped and killed at any moment it leaves nothing, and then it holds its promises. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { leftOf, tracesOf } from "./aftermath.ts";
import { CAROM } from "./daemon-process.ts";
import type { DemoResult } from "./demo.ts";
import { skip } from "./lab-fixture.ts";
import { labNodes } from "./topology.ts";

const options = { skip, timeout: 60_000 };

const running = new Set<ChildProcess>();
after(() => {
  for (const child of running) child.kill("SIGKILL");
});

function demo(...args: readonly string[]): ChildProcess {
  const [command = "", ...rest] = [...CAROM, "lab", ...args];
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Resolves when its output holds `expected`; nobody else may read it. */
async function said(child: ChildProcess, expected: string): Promise<void> {
  let output = "";
  for await (const chunk of child.stdout ?? []) {
    output += String(chunk);
    if (output.includes(expected)) return;
  }
  assert.fail(`the demo ended before it said "${expected}": ${output}`);
}

/** Children in a network namespace of their own: the holders of nodes. */
function holdersOf(child: ChildProcess): number[] {
  const home = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const isChild = readFileSync(`/proc/${pid}/status`, "latin1").includes(
          `\nPPid:\t${child.pid}\n`,
        );
        return isChild && readlinkSync(`/proc/${pid}/ns/net`) !== home;
      } catch {
        return false;
      }
    });
}

/** Waits until the demo is half built. */
async function holders(child: ChildProcess): Promise<number[]> {
  for (;;) {
    const pids = holdersOf(child);
    if (pids.length >= labNodes.length) return pids;
    assert.equal(child.exitCode, null);
    await delay(5);
  }
}

const endings: readonly {
  name: string;
  signal: NodeJS.Signals;
  whenSaid: string | null;
  code: number | null;
}[] = [
  { name: "Ctrl-C while requests are sent", signal: "SIGINT", whenSaid: "a second", code: 130 },
  { name: "Ctrl-C while it starts", signal: "SIGINT", whenSaid: null, code: 130 },
  { name: "kill while requests are sent", signal: "SIGTERM", whenSaid: "a second", code: 143 },
  { name: "kill -9 while requests are sent", signal: "SIGKILL", whenSaid: "a second", code: null },
  { name: "kill -9 while it starts", signal: "SIGKILL", whenSaid: null, code: null },
];

for (const { name, signal, whenSaid, code } of endings) {
  test(`${name}: nothing stays`, options, async (context) => {
    const child = demo();
    if (whenSaid !== null) await said(child, whenSaid);
    const traces = tracesOf(await holders(child));
    if (whenSaid !== null) assert.equal(traces.programIds.length, 4);
    const exit = once(child, "exit");
    const startMs = performance.now();
    child.kill(signal);
    assert.deepEqual(await exit, code === null ? [null, signal] : [code, null]);
    context.diagnostic(`ended after ${(performance.now() - startMs).toFixed(0)} ms`);
    assert.deepEqual(await leftOf(traces), []);
  });
}

test("the demo holds what it promises", options, async (context) => {
  const child = demo("--seconds", "4", "--json");
  assert.ok(child.stdout && child.stderr);
  const exit = once(child, "exit");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  assert.equal(stderr, "");
  const { held, firstAnswerS, takenDownS, promises, figures } = JSON.parse(stdout) as DemoResult;
  context.diagnostic(`first answer after ${firstAnswerS.toFixed(1)} s`);
  context.diagnostic(`taken down in ${takenDownS.toFixed(2)} s`);
  for (const { name, detail } of promises) context.diagnostic(`${name}: ${detail}`);
  assert.deepEqual(
    promises.filter((promise) => !promise.held),
    [],
  );
  assert.equal(held, true);
  assert.deepEqual(await exit, [0, null]);
  // What makes the promises worth something.
  assert.equal(promises.length, 7);
  assert.ok(figures.downloads > 0);
  assert.ok(figures.keptOthers > 0);
  assert.ok(figures.keptMoved > 0);
  assert.deepEqual(
    figures.backends.map(({ name, forwarding, state }) => [name, forwarding, state]),
    [
      ["web-1", "l2", "up"],
      ["web-2", "l2", "up"],
      ["web-3", "ipip", "up"],
    ],
  );
});
