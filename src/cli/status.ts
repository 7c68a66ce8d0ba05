/** `carom status`: what the running daemons of an instance do, as tables for people or JSON. */
import { Command } from "commander";
import type { AgentStatus } from "../api/agent.ts";
import type { DirectorStatus } from "../api/director.ts";
import type { Traffic } from "../api/traffic.ts";
import type { Role } from "../daemon/instance.ts";
import { agentReasons, directorReasons, type Reason } from "../datapath/reasons.ts";
import { askDaemon, instanceOption, notRunning, refusal } from "./instance.ts";
import { formatTable } from "./table.ts";

/** Those that run. */
interface Statuses {
  readonly director?: DirectorStatus;
  readonly agent?: AgentStatus;
}

export const statusCommand = (): Command =>
  new Command("status")
    .description("show what a director or agent does")
    .addOption(instanceOption())
    .option("--json", 'print JSON: {"director": …, "agent": …}, those that run')
    .action(async ({ instance, json }: { instance: string; json?: true }) => {
      const [director, agent] = await Promise.all([
        statusOf(instance, "director"),
        statusOf(instance, "agent"),
      ]);
      if (director === null && agent === null) {
        throw new Error(notRunning(instance, ["director", "agent"]));
      }
      const statuses: Statuses = {
        ...(director === null ? {} : { director: director as DirectorStatus }),
        ...(agent === null ? {} : { agent: agent as AgentStatus }),
      };
      console.log(json === true ? JSON.stringify(statuses, null, 2) : format(statuses));
    });

/** `null` when the role does not run. @throws {Error} when its daemon refuses */
async function statusOf(instance: string, role: Role): Promise<unknown> {
  const answer = await askDaemon(instance, role, "GET", "/v1/status");
  if (answer === null) return null;
  if (answer.status !== 200) throw new Error(refusal(answer));
  return answer.body;
}

const format = ({ director, agent }: Statuses): string =>
  [
    ...(director === undefined ? [] : formatDirector(director)),
    ...(agent === undefined ? [] : formatAgent(agent)),
  ].join("\n\n");

function formatAgent(status: AgentStatus): readonly string[] {
  const rows = Array.from(
    { length: Math.max(status.vips.length, status.directors.length) },
    (_, index) => [status.vips[index] ?? "", status.directors[index] ?? ""],
  );
  return [
    headline("agent", status),
    formatTable(["vip", "director"], rows),
    formatReasons(agentReasons, status.reasons),
  ];
}

const headline = (
  role: Role,
  { instance, pid, interfaces }: DirectorStatus | AgentStatus,
): string =>
  `${role} "${instance}", pid ${pid}, on ${interfaces.map(interfaceText).join(", ") || "no interface"}`;

const interfaceText = ({
  name,
  mode,
  without = [],
}: Pick<AgentStatus["interfaces"][number], "name" | "mode"> &
  Partial<DirectorStatus["interfaces"][number]>): string =>
  `${name} (${[mode, ...without.map((what) => `without ${what}`)].join(", ")})`;

const formatReasons = (
  reasons: readonly Reason[],
  counted: Readonly<Record<string, Traffic>>,
): string =>
  formatTable(
    ["packets", "bytes", "reason", "fate", "meaning"],
    reasons.flatMap(({ name, fate, meaning }) => {
      const { packets = 0, bytes = 0 } = counted[name] ?? {};
      return packets > 0 ? [[String(packets), String(bytes), name, fate, meaning]] : [];
    }),
  );

function formatDirector(status: DirectorStatus): readonly string[] {
  const services = formatTable(
    ["service", "vips", "ports", "pool", "packets", "bytes"],
    status.services.map((service) => [
      service.name,
      service.vips.join(" "),
      `${service.ports.join(" ")}/${service.protocol}`,
      service.pool,
      String(service.packets),
      String(service.bytes),
    ]),
  );
  const backends = formatTable(
    ["pool", "backend", "address", "by", "weight", "state", "buckets", "packets", "next hop"],
    status.pools.flatMap((pool) =>
      pool.backends.map((backend) => [
        pool.name,
        backend.name,
        backend.address,
        backend.forwarding,
        String(backend.weight),
        backend.state,
        `${((100 * backend.buckets) / pool.buckets).toFixed(1)} %`,
        String(backend.packets),
        backend.nextHop ?? "unresolved",
      ]),
    ),
  );
  return [
    headline("director", status),
    services,
    backends,
    formatReasons(directorReasons, status.reasons),
  ];
}
