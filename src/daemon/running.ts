/** One daemon an instance and role: whoever answers at the socket is it. */
import type { Hono } from "hono";
import { type ApiSocket, serveSocket, SocketTakenError } from "../api/serve.ts";
import { ask, NotRunningError } from "../api/socket.ts";
import { startingApi } from "../api/starting.ts";
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
  if (pid !== null) throw new StartError([runsAlready(instance, role, String(pid))]);
}

export const runsAlready = (instance: string, role: Role, pid: string): string =>
  `Cannot run ${role} "${instance}": it runs already (pid ${pid}); stop that one first, or give this one another instance name`;

/**
 * Makes this process the one daemon of its instance and role. To be called before anything is changed:
 * of two that start at the same moment, one gets it.
 * @throws {StartError} when another has it
 */
export async function claim(
  instance: string,
  role: Role,
  app: Hono = startingApi(
    `${role === "director" ? "Director" : "Agent"} "${instance}"`,
    process.pid,
  ),
): Promise<ApiSocket> {
  try {
    return await serveSocket(app, socketPath(instance, role));
  } catch (error) {
    if (!(error instanceof SocketTakenError)) throw error;
    await refuseSecond(instance, role);
    throw new StartError([runsAlready(instance, role, "unknown")], { cause: error });
  }
}
