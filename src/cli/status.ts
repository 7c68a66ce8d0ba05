/** `carom status`: what a running director does, as tables for people or JSON. */
import { Command } from "commander";
import type { DirectorStatus } from "../api/director.ts";
import { directorReasons } from "../datapath/reasons.ts";
import { formatTable } from "./table.ts";

export const statusCommand = (): Command =>
  new Command("status")
    .description("show what a director does")
    .option("-i, --instance <name>", "of the director", "main")
    .option("--json", "print JSON")
    .action(async ({ instance, json }: { instance: string; json?: true }) => {
      const [{ ask }, { socketPath }] = await Promise.all([
        import("../api/socket.ts"),
        import("../daemon/instance.ts"),
      ]);
      const { status, body } = await ask(socketPath(instance, "director"), "GET", "/v1/status");
      if (status !== 200) throw new Error((body as { readonly detail: string }).detail);
      console.log(json === true ? JSON.stringify(body, null, 2) : format(body as DirectorStatus));
    });

function format(status: DirectorStatus): string {
  const interfaces = status.interfaces.map(({ name, mode }) => `${name} (${mode})`).join(", ");
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
  const reasons = formatTable(
    ["packets", "bytes", "reason", "fate", "meaning"],
    directorReasons.flatMap(({ name, fate, meaning }) => {
      const { packets = 0, bytes = 0 } = status.reasons[name] ?? {};
      return packets > 0 ? [[String(packets), String(bytes), name, fate, meaning]] : [];
    }),
  );
  return [
    `director "${status.instance}", pid ${status.pid}, on ${interfaces}`,
    services,
    backends,
    reasons,
  ].join("\n\n");
}
