/** A process group ends as a whole: at its time limit, when told to stop, and when its leader ends. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { run, type Task } from "./task.ts";

const folder = mkdtempSync(join(tmpdir(), "carom-task-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Starts a child that would stay for an hour and writes its pid to `file`; then goes on with `then`. */
const leader = (file: string, then: string): readonly [string, ...string[]] => [
  "bash",
  "-c",
  `sleep 3600 & echo $! >${file}; echo started; ${then}`,
];

const task = (command: Task["command"], timeLimitMs = 60_000): Task => ({
  name: "sample",
  command,
  timeLimitMs,
  reportsTests: false,
});

const never = new AbortController().signal;

test("run() gives the output and the exit code", async () => {
  const outcome = await run(task(["bash", "-c", "echo out; echo err >&2; exit 3"]), never);
  assert.equal(outcome.code, 3);
  assert.deepEqual(outcome.output.trim().split("\n").toSorted(), ["err", "out"]);
  assert.equal(outcome.timedOut, false);
});

test("run() finds the Node of the lock file first", async () => {
  const { output } = await run(task(["node", "--version"]), never);
  assert.equal(output, `${process.version}\n`);
});

test("run() says that a command cannot be started", async () => {
  const { code, output } = await run(task(["carom-no-such-command"]), never);
  assert.equal(code, null);
  assert.match(output, /^Cannot start "carom-no-such-command": .*ENOENT/);
});

test("run() ends what its command leaves behind", async () => {
  const file = join(folder, "left");
  const outcome = await run(task(leader(file, "exit 0")), never);
  assert.equal(outcome.code, 0);
  await gone(file);
});

test("run() ends the group at the time limit", async () => {
  const file = join(folder, "limit");
  const outcome = await run(task(leader(file, "wait"), 300), never);
  assert.equal(outcome.timedOut, true);
  assert.equal(outcome.signal, "SIGTERM");
  await gone(file);
});

test("run() ends the group when told to stop", async () => {
  const file = join(folder, "stop");
  const stop = new AbortController();
  const outcome = run(task(leader(file, "wait")), stop.signal);
  await written(file);
  stop.abort();
  assert.equal((await outcome).signal, "SIGTERM");
  await gone(file);
});

const sampleTest = (file: string): string => `
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
test("stays", async () => {
  const child = spawn("sleep", ["3600"]);
  writeFileSync(${JSON.stringify(file)}, String(child.pid));
  await new Promise((resolve) => child.once("exit", resolve));
});
`;

for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
  test(`test.ts leaves no process behind after ${signal}`, async () => {
    const file = join(folder, signal);
    const sample = join(folder, `tree-${signal}`);
    const runner = startRunner(sample, sampleTest(file));
    const ended = once(runner, "exit");
    await written(file);
    runner.kill(signal);
    const [code, endSignal] = await ended;
    assert.deepEqual([code, endSignal], signal === "SIGKILL" ? [null, "SIGKILL"] : [1, null]);
    await gone(file);
  });
}

/** The runner, over a tree of one unit test. */
function startRunner(tree: string, code: string): ChildProcess {
  writeTree(tree, code);
  return spawn(process.execPath, [join(import.meta.dirname, "test.ts"), "unit"], {
    cwd: tree,
    stdio: "ignore",
  });
}

function writeTree(tree: string, code: string): void {
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, "src"), { recursive: true });
  writeFileSync(join(tree, "package.json"), '{ "type": "module" }');
  writeFileSync(join(tree, "src/sample.test.ts"), code);
}

/** Waits for the pid in `file`; the test's time limit ends a wait in vain. */
async function written(file: string): Promise<number> {
  for (;;) {
    const pid = Number(readIfThere(file));
    if (pid > 0) return pid;
    await pause(5);
  }
}

/** Waits until the process whose pid is in `file` is gone (a zombie is). */
async function gone(file: string): Promise<void> {
  const pid = await written(file);
  while (/^State:\s+[^Z]/m.test(readIfThere(`/proc/${pid}/status`))) await pause(5);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
