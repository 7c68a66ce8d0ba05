/** One daemon an instance and role: whoever answers at the socket is it. */
import { ask, NotRunningError } from "../api/socket.ts";
import { type Role, socketPath } from "./instance.ts";
import { StartError } from "./start-error.ts";

/** The process id of the daemon that runs, `null` when none does. */
export async function runningPid(instance: string, role: Role): Promise<number | null> {
  try {
    const { body } = await ask(socketPath(instance, role), "GET", "/v1/status");
    return (body as { readonly pid: number }).pid;
  } catch (error) {
    if (error instanceof NotRunningError) return null;
    throw error;
  }
}

/** @throws {StartError} when one runs */
export async function refuseSecond(instance: string, role: Role): Promise<void> {
  const pid = await runningPid(instance, role);
  if (pid === null) return;
  throw new StartError([
    `Cannot run ${role} "${instance}": it runs already (pid ${pid}); stop that one first, or give this one another instance name`,
  ]);
}
