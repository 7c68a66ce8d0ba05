/** What commands that speak of a running instance share: its name, and asking its daemons. */
import { InvalidArgumentError, Option } from "commander";
import type { Answer } from "../api/socket.ts";
import type { Role } from "../daemon/instance.ts";

export const instanceOption = (): Option =>
  new Option("-i, --instance <name>", "the instance").argParser(instanceName).default("main");

/** As the configuration has it; a name becomes part of paths, also of some that are removed. */
function instanceName(text: string): string {
  if (/^[a-z0-9-]{1,32}$/.test(text)) return text;
  throw new InvalidArgumentError('An instance name is 1 to 32 of a-z, 0-9 and "-".');
}

/** What a daemon of an instance answers, `null` when it does not run. */
export async function askDaemon(
  instance: string,
  role: Role,
  ...[method, route, body]: [method: "GET" | "PUT", route: string, body?: unknown]
): Promise<Answer | null> {
  const [{ ask, NotRunningError }, { socketPath }] = await Promise.all([
    import("../api/socket.ts"),
    import("../daemon/instance.ts"),
  ]);
  try {
    return await ask(socketPath(instance, role), method, route, body);
  } catch (error) {
    if (error instanceof NotRunningError) return null;
    throw error;
  }
}

/** What to say when none of `roles` runs. */
export const notRunning = (instance: string, roles: readonly Role[]): string =>
  `No ${roles.join(" or ")} "${instance}" runs; start it with ${roles.map((role) => `carom ${role} --config FILE`).join(" or ")}`;

/** What a daemon says of a request it refuses. */
export function refusal({ status, body }: Answer): string {
  const detail = (body as { readonly detail?: unknown } | null)?.detail;
  return typeof detail === "string" ? detail : `The daemon answered with status ${status}`;
}
