/**
 * The reporter inside each process that runs a file of tests (`--test-reporter`): writes what
 * happens as JSON lines to descriptor 3, for `test.ts` to put together.
 *
 * Descriptor 4 is the other end of a pipe held by `test.ts`. When that process is gone, even killed,
 * nobody would end ours and what it started: then the whole process group goes.
 */
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { inspect } from "node:util";
import type { TestEvent as NodeTestEvent } from "node:test/reporters";

export interface TestEvent {
  readonly kind: "start" | "running" | "done" | "pass" | "fail";
  readonly name: string;
  /** 0 for a test at the top of its file. */
  readonly nesting: number;
  readonly durationMs: number;
  /** Why it was skipped; `null` when it ran. */
  readonly skip: string | null;
  /** What went wrong; `null` when nothing did, or only in tests within. */
  readonly error: string | null;
  readonly isSuite: boolean;
}

const EVENTS = 3;
const LIFE = 4;

const kinds: Readonly<Record<string, TestEvent["kind"]>> = {
  "test:start": "start",
  "test:dequeue": "running",
  "test:complete": "done",
  "test:pass": "pass",
  "test:fail": "fail",
};

new Socket({ fd: LIFE }).on("close", endGroup).resume().unref();

/** Node asks for a default export here. */
export default async function* report(
  source: AsyncIterable<NodeTestEvent>,
): AsyncGenerator<string> {
  for await (const event of source) {
    const kind = kinds[event.type];
    if (kind !== undefined) write(eventOf(kind, event.data as Data));
  }
  yield "";
}

function write(event: TestEvent): void {
  try {
    writeSync(EVENTS, `${JSON.stringify(event)}\n`);
  } catch {
    // EPIPE: nobody reads any more, seen here before the other pipe told us.
    endGroup();
  }
}

function endGroup(): void {
  process.kill(-process.pid, "SIGTERM");
}

interface Data {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details?: {
    readonly duration_ms?: number;
    readonly type?: string;
    readonly error?: Error & { readonly failureType?: string };
  };
}

function eventOf(kind: TestEvent["kind"], data: Data): TestEvent {
  const { error, duration_ms: durationMs = 0, type } = data.details ?? {};
  const skip = data.skip ?? (data.todo === undefined ? undefined : `todo: ${String(data.todo)}`);
  return {
    kind,
    name: data.name,
    nesting: data.nesting,
    durationMs,
    skip: skip === undefined || skip === false ? null : skip === true ? "no reason given" : skip,
    error: error === undefined || error.failureType === "subtestsFailed" ? null : explain(error),
    isSuite: type === "suite",
  };
}

/** Node wraps what a test threw. An assertion's stack begins with its difference; anything else may carry fields and a cause. */
function explain({ cause = null, message }: Error): string {
  if (!(cause instanceof Error)) return cause === null ? message : inspect(cause);
  const isAssertion = "code" in cause && cause.code === "ERR_ASSERTION";
  return isAssertion && cause.stack !== undefined ? cause.stack : inspect(cause, { depth: 5 });
}
