/** What a run of tests prints, and how its results are counted. Pure: outcomes in, text out. */
import type { Outcome } from "./task.ts";

export interface Result {
  /** The file, or the check. */
  readonly task: string;
  /** Names of the test and those around it. */
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped; empty when it passed. */
  readonly reason: string;
  readonly durationMs: number;
}

/**
 * The results of one task. Tests that only hold others do not count, unless they fail by
 * themselves. A file that ends badly without a failed test, or without any test, is a failure.
 * With `skipIsFailure` (CI) a skipped test failed.
 */
export function resultsOf(outcome: Outcome, skipIsFailure: boolean): Result[] {
  const { task, durationMs } = outcome;
  const ending = endingOf(outcome);
  if (!task.reportsTests) {
    const reason = ending === null ? "" : withOutput(ending, outcome.output);
    return [
      {
        task: "check",
        name: task.name,
        state: ending === null ? "passed" : "failed",
        reason,
        durationMs,
      },
    ];
  }
  const results = testsOf(outcome, skipIsFailure);
  const trouble =
    ending ?? (results.length === 0 ? "has no tests: nothing would fail if it broke" : null);
  const isExplained = results.some((result) => result.state === "failed") && !outcome.timedOut;
  if (trouble !== null && !isExplained) {
    const reason = trouble + stillRunning(outcome);
    results.push({ task: task.name, name: "(the file)", state: "failed", reason, durationMs });
  }
  return results;
}

function testsOf({ task, events }: Outcome, skipIsFailure: boolean): Result[] {
  const path: string[] = [];
  const results: Result[] = [];
  let deepest = 0;
  for (const event of events) {
    if (event.kind === "start") path[event.nesting] = event.name;
    if (event.kind !== "pass" && event.kind !== "fail") continue;
    // Results come from the inside out, so one that follows a deeper one holds it.
    const holdsOthers = deepest > event.nesting;
    deepest = event.nesting;
    if ((holdsOthers || event.isSuite) && event.error === null) continue;
    const name = [...path.slice(0, event.nesting), event.name].join(" > ");
    const { durationMs } = event;
    if (event.kind === "fail") {
      results.push({
        task: task.name,
        name,
        state: "failed",
        reason: event.error ?? "",
        durationMs,
      });
    } else if (event.skip !== null) {
      const reason = skipIsFailure ? `skipped, which CI does not allow: ${event.skip}` : event.skip;
      const state = skipIsFailure ? "failed" : "skipped";
      results.push({ task: task.name, name, state, reason, durationMs });
    } else {
      results.push({ task: task.name, name, state: "passed", reason: "", durationMs });
    }
  }
  return results;
}

/** How a task ended, if not well. */
function endingOf({ task, code, signal, timedOut }: Outcome): string | null {
  if (timedOut) return `did not end within ${task.timeLimitMs / 1000} s`;
  if (signal !== null) return `was ended by ${signal}`;
  return code === 0 ? null : code === null ? "did not start" : `exited with code ${code}`;
}

function stillRunning({ events }: Outcome): string {
  const running = new Set<string>();
  for (const { kind, name } of events) {
    if (kind === "running") running.add(name);
    if (kind === "done") running.delete(name);
  }
  return running.size === 0 ? "" : `, while running: ${[...running].join(", ")}`;
}

const withOutput = (reason: string, output: string): string =>
  output.trim() === "" ? reason : `${reason}\n${output.trimEnd()}`;

/** One line for a task that has ended. */
export function taskLine(outcome: Outcome, results: readonly Result[]): string {
  const failed = results.some((result) => result.state === "failed");
  const skipped = results.filter((result) => result.state === "skipped").length;
  const state = failed ? "FAIL" : skipped === results.length ? "skip" : "ok";
  const count = outcome.task.reportsTests ? ` (${results.length})` : "";
  return `${state.padEnd(4)} ${seconds(outcome.durationMs)}  ${outcome.task.name}${count}`;
}

/** What follows the last task; its last line is the counts, whatever happened. */
export function summary(results: readonly Result[], outputs: ReadonlyMap<string, string>): string {
  const of = (state: Result["state"]): Result[] =>
    results.filter((result) => result.state === state);
  const [failed, skipped] = [of("failed"), of("skipped")];
  const lines = failed.flatMap(({ task, name, reason }) => [
    "",
    `FAILED ${task}: ${name}`,
    indent(reason),
  ]);
  for (const task of new Set(failed.map((result) => result.task))) {
    const output = outputs.get(task) ?? "";
    if (output.trim() !== "") lines.push("", `OUTPUT of ${task}`, indent(output.trimEnd()));
  }
  if (skipped.length > 0) {
    lines.push("", "Skipped");
    for (const { task, name, reason } of skipped) lines.push(`  ${task}: ${name}: ${reason}`);
  }
  const slow = results.filter((result) => result.durationMs >= SLOW_MS);
  if (slow.length > 0) {
    lines.push("", "Slowest");
    slow.sort((a, b) => b.durationMs - a.durationMs);
    for (const { task, name, durationMs } of slow.slice(0, 10)) {
      lines.push(`  ${seconds(durationMs)}  ${task}: ${name}`);
    }
  }
  const passed = of("passed").length;
  lines.push("", `${passed} passed, ${failed.length} failed, ${skipped.length} skipped`);
  return lines.join("\n");
}

/** Below this a test is not worth a line among the slowest. */
const SLOW_MS = 200;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2).padStart(6)} s`;

const indent = (text: string): string => text.replace(/^(?=.)/gm, "  ");
