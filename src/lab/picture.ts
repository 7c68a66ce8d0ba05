/** The lab's network as a picture, for terminals of 80 columns. Pure. */
import type { DirectorConfig } from "../model/model.ts";
import { portRangeText } from "../model/port-range.ts";
import { formatIp } from "../net/address.ts";
import { formatPrefix } from "../net/prefix.ts";
import type { LabBackend } from "./lab.ts";
import type { Style } from "./style.ts";
import { addressOf, type LabNodeName, type Topology } from "./topology.ts";

export function drawNetwork(
  { nodes }: Topology<LabNodeName>,
  config: DirectorConfig,
  backends: readonly LabBackend[],
  { bold, dim }: Style,
): readonly string[] {
  const end = (node: LabNodeName): string => {
    const name = backends.find((backend) => backend.node === node)?.name;
    const member = config.pools[0]?.backends.find((backend) => backend.name === name);
    const serves =
      member === undefined
        ? ""
        : `${member.name}  ${member.forwarding.padEnd(4)}  weight ${member.weight}`;
    return `${bold(node.padEnd(9))}  ${formatIp(addressOf(nodes[node], 4)).padEnd(12)}  ${serves}`;
  };
  const { vips = [], ports = [] } = config.services[0] ?? {};
  const portsText = ports === "all" ? ports : ports.map(portRangeText).join(", ");
  const clientAddress = formatIp(addressOf(nodes.client, 4)).padEnd(13);
  return [
    `                            ┌── ${end("director")}`,
    `  ┌────────┐   ┌────────┐   │`,
    `  │ ${bold("client")} ├───┤ ${bold("router")} ├───┼── ${end("backend-1")}`,
    `  └────────┘   └────┬───┘   │`,
    `  ${clientAddress}     │       └── ${end("backend-2")}`,
    `                    │`,
    `                    └────────── ${end("backend-3")}`,
    "",
    `  ${dim("request")}  client → router → director → backend`,
    `  ${dim("answer")}   backend → router → client`,
    `  ${dim("VIPs")}     ${vips.map(formatPrefix).join(", ")}; TCP port ${portsText}`,
  ].map((line) => line.trimEnd());
}
