/** The thread of `TableWorker`: one table per message, in the order they come. */
import { parentPort } from "node:worker_threads";
import { ScheduleError } from "./schedule-error.ts";
import { buildTable } from "./table.ts";
import type { TableReply, TableRequest } from "./worker.ts";

parentPort?.on("message", ({ id, members }: TableRequest) => {
  const answer = reply(id, members);
  // Moved, not copied.
  const moved = "plan" in answer ? [answer.plan.base.buffer, answer.plan.second.buffer] : [];
  parentPort?.postMessage(answer, moved as ArrayBuffer[]);
});

function reply(id: number, members: TableRequest["members"]): TableReply {
  try {
    return { id, plan: buildTable(members) };
  } catch (cause) {
    // A class does not survive the way between threads; its code and message do.
    if (cause instanceof ScheduleError) {
      return { id, error: { code: cause.code, message: cause.message } };
    }
    throw cause;
  }
}
