/** The lab's network as a picture, for terminals of 80 columns. Pure. */
import type { DirectorConfig } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import type { LabBackend } from "./lab.ts";
import { addressOf, type LabNodeName, type Topology } from "./topology.ts";

/** Lines without escape codes. */
export function drawNetwork(
  { nodes }: Topology<LabNodeName>,
  config: DirectorConfig,
  backends: readonly LabBackend[],
): readonly string[] {
  const address = (node: LabNodeName): string => formatIp(addressOf(nodes[node], 4)).padEnd(13);
  const serves = (node: LabNodeName): string => {
    const name = backends.find((backend) => backend.node === node)?.name;
    const member = config.pools[0]?.backends.find((backend) => backend.name === name);
    if (member === undefined) return "not in use";
    return `${member.name}, by ${member.forwarding.padEnd(4)} weight ${member.weight}`;
  };
  const { vips = [], ports = [] } = config.services[0] ?? {};
  return [
    `                            ┌───────────┐`,
    `                     ┌──────┤ director  ├ ${address("director")} ${config.interfaces.join(" ")}`,
    `                     │      ├───────────┤`,
    ` ┌────────┐   ┌──────┴─┐    │ backend-1 ├ ${address("backend-1")} ${serves("backend-1")}`,
    ` │ client ├───┤ router │    ├───────────┤`,
    ` └────────┘   └──────┬─┘    │ backend-2 ├ ${address("backend-2")} ${serves("backend-2")}`,
    `  ${formatIp(addressOf(nodes.client, 4))}      │      └───────────┘`,
    `                     │      ┌───────────┐`,
    `                     └──────┤ backend-3 ├ ${address("backend-3")} ${serves("backend-3")}`,
    `                            └───────────┘`,
    ` VIPs ${vips.map(formatIp).join(" and ")}, TCP port ${ports.join(", ")}; both families everywhere.`,
    ` Requests: client → router → director → backend.  Answers: backend → router → client.`,
  ];
}
