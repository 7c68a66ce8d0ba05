/**
 * What a backend has to have for the forwardings that a director's configuration uses for it: the file of
 * its agent, or the commands for native Linux devices. Pure; text comes out.
 */
import type { Backend, DirectorConfig, Forwarding, Service } from "../model/model.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import { formatPrefix, type IpPrefix, isWhole, sameIpPrefix } from "../net/prefix.ts";
import { codePointsOf } from "./desired-state.ts";
import { nativeCommands, sourcesOf } from "./native-commands.ts";

/** One machine, as all pools together use it: they may forward to it in several ways. */
export interface BackendUse {
  readonly address: IpAddress;
  /** `pool/name`, each. */
  readonly members: readonly string[];
  readonly forwardings: readonly Forwarding[];
  readonly services: readonly Service[];
  readonly vips: readonly IpPrefix[];
  /** VIPs by their code points, from 1 on. */
  readonly codePoints: readonly IpAddress[];
}

/** Every backend address of a configuration, in the order of the file. */
export function backendUses(config: DirectorConfig): readonly BackendUse[] {
  const codePoints = codePointsOf(config);
  const found = new Map<string, Found>();
  for (const { name: pool, backends } of config.pools) {
    for (const backend of backends) {
      const key = formatIp(backend.address);
      const use = found.get(key) ?? { address: backend.address, members: [] };
      found.set(key, use);
      use.members.push({ pool, backend });
    }
  }
  return [...found].map(([key, { address, members }]) => {
    const pools = new Set(members.map(({ pool }) => pool));
    const services = config.services.filter(({ pool }) => pools.has(pool));
    const vips: IpPrefix[] = [];
    for (const vip of services.flatMap((service) => service.vips)) {
      if (!vips.some((known) => sameIpPrefix(known, vip))) vips.push(vip);
    }
    return {
      address,
      members: members.map(({ pool, backend }) => `${pool}/${backend.name}`),
      forwardings: [...new Set(members.map(({ backend }) => backend.forwarding))],
      services,
      vips,
      codePoints: codePoints.get(key) ?? [],
    };
  });
}

interface Found {
  readonly address: IpAddress;
  readonly members: { readonly pool: string; readonly backend: Backend }[];
}

/** Which backends `wanted` means: an address, or `pool/name`. */
export const isNamed = (use: BackendUse, wanted: string): boolean =>
  use.members.includes(wanted) || formatIp(use.address) === wanted;

export interface SetupOptions {
  /** Where outer headers come from; unknown to the file. */
  readonly directors: readonly IpAddress[];
  /** The backend's interface towards its network. */
  readonly interface: string;
}

/** The whole text for one backend. */
export function backendSetup(
  config: DirectorConfig,
  use: BackendUse,
  options: SetupOptions,
): string {
  const heading = `# ${use.members.join(", ")} at ${formatIp(use.address)}, forwarded to by ${use.forwardings.join(" and ")}`;
  return [
    heading,
    "",
    "# 1. With an agent: this file, then carom agent --config agent.yaml",
    "",
    ...agentFile(config, use, options),
    "",
    "# 2. Or without one, as root, with native Linux devices:",
    "",
    ...nativeCommands(config, use, options),
    "",
    "# What it must not do, with or without an agent:",
    ...mustNot(use).map((line) => `#  - ${line}`),
    "",
  ].join("\n");
}

function agentFile(
  { tunnels, outerSources }: DirectorConfig,
  use: BackendUse,
  { directors, interface: name }: SetupOptions,
): readonly string[] {
  const { fouPort, fouPortIpv6, guePort } = tunnels;
  const sources = sourcesOf(outerSources, use.address.family, directors).map(quotedText);
  const dscp =
    use.codePoints.length === 0
      ? []
      : [
          "  dscp:",
          `    - address: ${quoted(use.address)}`,
          `      vips: [${use.codePoints.map(quoted).join(", ")}]`,
        ];
  return [
    "agent:",
    `  interfaces: [${name}]`,
    `  vips: [${use.vips.map((vip) => quotedText(formatPrefix(vip))).join(", ")}]`,
    `  directors: [${sources.join(", ")}]`,
    `  tunnels: { fouPort: ${fouPort}, fouPortIpv6: ${fouPortIpv6}, guePort: ${guePort} }`,
    ...dscp,
  ];
}

const quoted = (address: IpAddress): string => quotedText(formatIp(address));
const quotedText = (text: string): string => (text.includes(":") ? `"${text}"` : text);

function mustNot({ forwardings, vips, services }: BackendUse): readonly string[] {
  const isReaddressed = forwardings.includes("dscp");
  const encapsulates = forwardings.some((each) => each !== "l2" && each !== "dscp");
  const anyProtocol = services.some(({ protocol }) => protocol === "any");
  return [
    "answer ARP for a VIP: then clients' packets come to it alone, past the directors",
    ...(isReaddressed
      ? [
          "put the VIP back by DNAT: connection tracking would give answers the backend's address",
          "use the DSCP of clients: it is lost with dscp",
        ]
      : []),
    ...(encapsulates
      ? ["check the reverse path (rp_filter) on a tunnel device: answers do not leave there"]
      : []),
    "send answers through a tunnel, or by a route that leads back over a director",
    ...(encapsulates
      ? [
          "keep the tunnel out: a firewall must let it in from every director, and the packets of clients behind it",
        ]
      : []),
    ...(vips.some((vip) => !isWhole(vip))
      ? ["have one of the prefix's addresses for anything else: they are all its own"]
      : []),
    ...(anyProtocol
      ? ["run a tunnel of clients' (protocol 4 or 41) through a VIP: the agent drops it as nested"]
      : []),
  ];
}
