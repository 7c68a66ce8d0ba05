/**
 * Builds tables off the main thread, so that packets' bookkeeping and BGP timers do not wait for
 * them. One thread, started with the first request and kept warm until closed.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { ScheduleErrorCode } from "./schedule-error.ts";
import { ScheduleError } from "./schedule-error.ts";
import type { Member, TablePlan } from "./table.ts";

export interface TableRequest {
  readonly id: number;
  readonly members: readonly Member[];
}

export type TableReply =
  | { readonly id: number; readonly plan: TablePlan }
  | { readonly id: number; readonly error: { code: ScheduleErrorCode; message: string } };

interface Waiting {
  readonly resolve: (plan: TablePlan) => void;
  readonly reject: (error: ScheduleError) => void;
}

// Beside this file under the same extension: .ts from source, .js once compiled.
const MAIN = new URL(`./worker-main${import.meta.url.slice(-3)}`, import.meta.url);

/** Builds tables in one thread of its own. `await using` or `close` ends it. */
export class TableWorker implements AsyncDisposable {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #nextId = 0;
  #closed = false;

  /**
   * The plan for `members`, as `buildTable` gives it.
   * @throws {ScheduleError} as `buildTable` does; with code `WORKER` if the thread fails or is closed
   */
  build(members: readonly Member[]): Promise<TablePlan> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new ScheduleError("WORKER", "Cannot build a table: the table worker is closed"));
        return;
      }
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      const plain = members.map(({ name, weight }) => ({ name, weight }));
      this.#worker ??= this.#start();
      this.#worker.ref();
      this.#worker.postMessage({ id, members: plain } satisfies TableRequest, []);
    });
  }

  /** Plans for several pools, in the order given; fails with the first that fails. */
  async buildAll(pools: readonly (readonly Member[])[]): Promise<TablePlan[]> {
    return await Promise.all(pools.map((members) => this.build(members)));
  }

  /** Ends the thread; what is not built yet fails with code `WORKER`. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = null;
    this.#failAll("the table worker is closed");
    await worker?.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(): Worker {
    const worker = new Worker(MAIN);
    worker.on("message", (reply: TableReply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      // An idle thread does not keep the process alive.
      if (this.#waiting.size === 0) worker.unref();
      if ("plan" in reply) waiting?.resolve(reply.plan);
      else waiting?.reject(new ScheduleError(reply.error.code, reply.error.message));
    });
    // The next request starts another thread.
    worker.on("error", (cause) => {
      if (this.#worker === worker) this.#worker = null;
      this.#failAll("the table worker failed", cause);
    });
    return worker;
  }

  #failAll(why: string, cause?: unknown): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) {
      reject(new ScheduleError("WORKER", `Cannot build a table: ${why}`, { cause }));
    }
  }
}

/** To start another thread takes as long as to build the tables of so many pools. */
const POOLS_PER_THREAD = 4;
const MAX_THREADS = 8;

/**
 * Plans for several pools, in the order given, built in threads that are started for it and ended
 * after it: as many as there are cores, but no more than 8 and than there is work for.
 * @throws {ScheduleError} the first failure, as `TableWorker.build` does
 */
export async function buildTablesInWorker(
  pools: readonly (readonly Member[])[],
): Promise<TablePlan[]> {
  const threads = Math.min(
    availableParallelism(),
    MAX_THREADS,
    Math.max(1, Math.floor(pools.length / POOLS_PER_THREAD)),
  );
  const workers = Array.from({ length: threads }, () => new TableWorker());
  try {
    const plans = new Map<number, TablePlan>();
    const left = bySize(pools);
    await Promise.all(
      workers.map(async (worker) => {
        for (let index = left.pop(); index !== undefined; index = left.pop()) {
          plans.set(index, await worker.build(pools[index]!));
        }
      }),
    );
    return pools.map((_, index) => plans.get(index)!);
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}

/**
 * Indexes of `pools`, the one with most members last: each thread takes the largest that is left as
 * soon as it is free, so none waits long for another at the end.
 */
function bySize(pools: readonly (readonly Member[])[]): number[] {
  return [...pools.keys()].toSorted((a, b) => pools[a]!.length - pools[b]!.length || b - a);
}
