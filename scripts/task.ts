/**
 * One command run to its end: a check, or a file of tests. It leads a process group of its own, so
 * that whatever it started ends with it: at its time limit, when we are told to stop, and (test
 * files, by `test-events.ts`) when we vanish without a word.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { createInterface } from "node:readline";
import type { TestEvent } from "./test-events.ts";

export interface Task {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly timeLimitMs: number;
  /** Whether it is a file of tests, which reports each of them; else its exit code is the result. */
  readonly reportsTests: boolean;
}

export interface Outcome {
  readonly task: Task;
  readonly events: readonly TestEvent[];
  /** stdout and stderr, as they came. */
  readonly output: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly durationMs: number;
}

/** How long a group may take to clean up after SIGTERM (an e2e test removes its namespaces). */
const GRACE_MS = 5_000;
/** Of the output of one task; the end says what went wrong. */
const OUTPUT_CHARACTERS_MAX = 200_000;

/** `node` and the tools of the lock file come before the machine's. */
const env = {
  ...process.env,
  PATH: `${import.meta.dirname}/../node_modules/.bin:${process.env["PATH"] ?? ""}`,
};

/** Runs `task`. Never rejects for what the task does; stops it when `signal` aborts. */
export async function run(task: Task, signal: AbortSignal): Promise<Outcome> {
  const startMs = performance.now();
  const [file, ...args] = task.command;
  // 3: events, written by the reporter. 4: stays open for as long as we live.
  const stdio = ["ignore", "pipe", "pipe", "pipe", "pipe"] as const;
  const child = spawn(file, args, { detached: true, stdio: [...stdio], env });
  const [, stdout, stderr, reported, life] = child.stdio as [
    null,
    Readable,
    Readable,
    Readable,
    Writable,
  ];

  let output = "";
  for (const stream of [stdout, stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  const events: TestEvent[] = [];
  createInterface(reported).on("line", (line) => {
    // A process that was killed may leave half a line.
    if (line.endsWith("}")) events.push(JSON.parse(line) as TestEvent);
  });
  // A child that never looks at it, or is gone: nothing to do.
  life.on("error", () => undefined);

  let timedOut = false;
  const stopped = new AbortController();
  const stop = (): void => void endGroup(child, stopped.signal);
  const limit = setTimeout(() => {
    timedOut = true;
    stop();
  }, task.timeLimitMs);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();

  const [code, endSignal] = await ended(child, (text) => {
    output += text;
  });
  clearTimeout(limit);
  stopped.abort();
  signal.removeEventListener("abort", stop);
  life.destroy();
  const durationMs = performance.now() - startMs;
  return { task, events, output, code, signal: endSignal, timedOut, durationMs };
}

/** Waits until the leader has exited, ends what it left behind, then until its pipes are read. */
async function ended(
  child: ChildProcess,
  explain: (text: string) => void,
): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      explain(`Cannot start "${child.spawnfile}": ${error.message}`);
      resolve([null, null]);
    });
    child.once("exit", () => signalGroup(child, "SIGKILL"));
    child.once("close", (code, signal) => resolve([code, signal]));
  });
}

async function endGroup(child: ChildProcess, over: AbortSignal): Promise<void> {
  signalGroup(child, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child, "SIGKILL"), GRACE_MS);
  over.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: nobody of the group is left, which is what we want.
  }
}
