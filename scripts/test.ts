/**
 * Runs the checks and the tests: `node scripts/test.ts [check|unit|kernel|e2e|guest] [part of a path]...`.
 *
 * Checks and unit tests (`x.test.ts`) share the processors; kernel tests (`x.kernel.test.ts`) and
 * end-to-end tests (`x.e2e.test.ts`) come after, one file at a time, since they share the machine's
 * kernel. Tests for what other kernels have (`x.guest.test.ts`) run only when they are asked for, as
 * `test-kernels.ts` does. Each file is a process (`task.ts`). The last line is always `N passed, N failed, N skipped`.
 *
 * CI=true makes every skip a failure: there a missing privilege must not look like a green run.
 */
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { type Result, resultsOf, summary, taskLine } from "./report.ts";
import { run, type Task } from "./task.ts";

const checks: readonly Task[] = [
  check("types", "tsc", "--noEmit"),
  check("lint", "oxlint", "--type-aware", "--deny-warnings"),
  check("format", "biome", "format", "--colors=off"),
  check("unused code", "knip"),
  check("code that only tests use", "knip", "--production"),
  check("import table", process.execPath, "scripts/house.ts"),
];

const kinds = ["check", "unit", "kernel", "e2e", "guest"] as const;
type Kind = (typeof kinds)[number];

const timeLimitsMs = { unit: 60_000, kernel: 120_000, e2e: 300_000, guest: 300_000 } as const;
/** Of a machine that is slower than any other: a virtual one without help of the processor. */
const TIME_FACTOR = Number(process.env["TEST_TIME_FACTOR"] ?? 1);

async function main(args: readonly string[]): Promise<number> {
  const kind = kinds.find((name) => name === args[0]);
  const parts = args.slice(kind === undefined ? 0 : 1);
  const tasks = tasksOf(kind, parts);
  if (tasks.parallel.length + tasks.serial.length === 0) {
    console.error(`No test file has "${parts.join('" or "')}" in its path`);
    return 2;
  }

  const stop = new AbortController();
  let stoppedBy: NodeJS.Signals | null = null;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      stoppedBy = signal;
      stop.abort();
    });
  }

  const results: Result[] = [];
  const outputs = new Map<string, string>();
  const runOne = async (task: Task): Promise<void> => {
    const outcome = await run(task, stop.signal);
    const own = resultsOf(outcome, process.env["CI"] === "true");
    results.push(...own);
    if (task.reportsTests) outputs.set(task.name, outcome.output);
    console.log(taskLine(outcome, own));
  };
  await inParallel(tasks.parallel, availableParallelism(), stop.signal, runOne);
  await inParallel(tasks.serial, 1, stop.signal, runOne);

  if (stoppedBy !== null) console.log(`\nStopped by ${String(stoppedBy)}, not everything ran`);
  console.log(summary(results, outputs));
  return stoppedBy !== null || results.some((result) => result.state === "failed") ? 1 : 0;
}

interface Tasks {
  readonly parallel: readonly Task[];
  readonly serial: readonly Task[];
}

/** What to run. Parts of a path leave the checks out, unless they were asked for. */
function tasksOf(kind: Kind | undefined, parts: readonly string[]): Tasks {
  const files = globSync("{src,scripts,test,examples,bench}/**/*.test.ts").toSorted();
  const chosen = files.filter(
    (file) => parts.length === 0 || parts.some((part) => file.includes(part)),
  );
  const of = (wanted: Exclude<Kind, "check">): Task[] =>
    kind === wanted || (kind === undefined && wanted !== "guest")
      ? chosen.filter((file) => kindOf(file) === wanted).map((file) => testFile(file, wanted))
      : [];
  const withChecks = kind === "check" || (kind === undefined && parts.length === 0);
  return {
    parallel: [...(withChecks ? checks : []), ...of("unit")],
    serial: [...of("kernel"), ...of("e2e"), ...of("guest")],
  };
}

const kindOf = (file: string): Exclude<Kind, "check"> =>
  (["kernel", "e2e", "guest"] as const).find((kind) => file.endsWith(`.${kind}.test.ts`)) ?? "unit";

function testFile(file: string, kind: Exclude<Kind, "check">): Task {
  return {
    name: file,
    command: [process.execPath, `--test-reporter=${import.meta.dirname}/test-events.ts`, file],
    timeLimitMs: timeLimitsMs[kind] * TIME_FACTOR,
    reportsTests: true,
  };
}

function check(name: string, ...command: [string, ...string[]]): Task {
  return { name, command, timeLimitMs: 180_000, reportsTests: false };
}

/** Works through `tasks`, `width` at a time, until they are done or `signal` aborts. */
async function inParallel(
  tasks: readonly Task[],
  width: number,
  signal: AbortSignal,
  runOne: (task: Task) => Promise<void>,
): Promise<void> {
  const queue = tasks.values();
  const worker = async (): Promise<void> => {
    for (const task of queue) {
      if (signal.aborted) return;
      await runOne(task);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

process.exitCode = await main(process.argv.slice(2));
