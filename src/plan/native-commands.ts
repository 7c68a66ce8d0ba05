/** Commands that make a Linux host a backend without an agent, by the forwardings that are used. */
import type { DirectorConfig } from "../model/model.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import { formatPrefix, type IpPrefix, isWhole } from "../net/prefix.ts";
import type { BackendUse, SetupOptions } from "./backend-setup.ts";

/** Stands where somebody has to write what the file does not say. */
const DIRECTORS_UNKNOWN = "ADDRESS-OF-EACH-DIRECTOR";

/** Where the outer headers of packets for a backend of this family come from. */
export function sourcesOf(
  outerSources: DirectorConfig["outerSources"],
  family: 4 | 6,
  directors: readonly IpAddress[],
): readonly string[] {
  const chosen = outerSources.find(({ address }) => address.family === family);
  if (chosen !== undefined) return [formatPrefix(chosen)];
  const known = directors.filter((director) => director.family === family);
  return known.length === 0 ? [DIRECTORS_UNKNOWN] : known.map(formatIp);
}

type Family = 4 | 6;

/** Lines of a shell script, with comments. */
export function nativeCommands(
  config: DirectorConfig,
  use: BackendUse,
  { directors, interface: name }: SetupOptions,
): readonly string[] {
  const { tunnels } = config;
  const { address, forwardings, vips } = use;
  const inner = ([4, 6] as const).filter((family) =>
    vips.some((vip) => vip.address.family === family),
  );
  const udp = forwardings.filter((each) => each === "fou" || each === "gue");
  const encapsulates = forwardings.some((each) => each !== "l2" && each !== "dscp");
  return [
    `sysctl -w net.ipv4.conf.${name}.arp_ignore=1 net.ipv4.conf.${name}.arp_announce=2`,
    ...vips.map(vipCommand),
    ...(forwardings.includes("gre") ? greDevice(address) : []),
    ...(forwardings.includes("ipip") || udp.length > 0 ? ipipDevices(address, inner) : []),
    ...(udp.includes("fou") ? fouPorts(tunnels, address.family, inner) : []),
    ...(udp.includes("gue") ? guePort(tunnels.guePort, address.family) : []),
    ...(forwardings.includes("dscp") ? restoreRules(use) : []),
    ...(encapsulates ? onlyDirectors(config, use, directors) : []),
  ];
}

const vipCommand = (vip: IpPrefix): string => {
  const ip = vip.address.family === 4 ? "ip" : "ip -6";
  if (!isWhole(vip)) return `${ip} route add local ${formatPrefix(vip)} dev lo`;
  const nodad = vip.address.family === 4 ? "" : " nodad";
  return `${ip} addr add ${formatPrefix(vip)}/${vip.length} dev lo${nodad}`;
};

/**
 * A device for everything that comes in by one kind of tunnel, whoever sends it. It has no address, and such
 * a device takes nothing when its reverse path is checked, strictly or loosely (net/ipv4/fib_frontend.c,
 * __fib_validate_source). The larger of the device's value and that of all counts.
 */
function device(name: string, type: string, local: IpAddress, rest = ""): readonly string[] {
  const any = local.family === 4 ? "any" : "::";
  return [
    `ip link add ${name} type ${type} local ${formatIp(local)} remote ${any}${rest}`,
    `ip link set ${name} up`,
    `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.${name}.rp_filter=0`,
  ];
}

const greDevice = (local: IpAddress): readonly string[] =>
  local.family === 4
    ? ["modprobe ip_gre", ...device("carom-gre", "gre", local)]
    : ["modprobe ip6_gre", ...device("carom-gre", "ip6gre", local)];

function ipipDevices(local: IpAddress, inner: readonly Family[]): readonly string[] {
  if (local.family === 6) {
    return ["modprobe ip6_tunnel", ...device("carom-ip6", "ip6tnl", local, " mode any")];
  }
  return [
    ...(inner.includes(4) ? ["modprobe ipip", ...device("carom-ipip", "ipip", local)] : []),
    ...(inner.includes(6) ? ["modprobe sit", ...device("carom-sit", "sit", local)] : []),
  ];
}

function fouPorts(
  { fouPort, fouPortIpv6 }: DirectorConfig["tunnels"],
  outer: Family,
  inner: readonly Family[],
): readonly string[] {
  const option = outer === 4 ? "" : " -6";
  return [
    outer === 4 ? "modprobe fou" : "modprobe fou6",
    ...(inner.includes(4) ? [`ip fou add port ${fouPort} ipproto 4${option}`] : []),
    ...(inner.includes(6) ? [`ip fou add port ${fouPortIpv6} ipproto 41${option}`] : []),
  ];
}

const guePort = (port: number, outer: Family): readonly string[] => [
  outer === 4 ? "modprobe fou" : "modprobe fou6",
  `ip fou add port ${port} gue${outer === 4 ? "" : " -6"}`,
];

/** Rewrites addresses before the host looks at them, and keeps no state: answers leave as they are. */
function restoreRules({ address, codePoints }: BackendUse): readonly string[] {
  const family = address.family === 4 ? "ip" : "ip6";
  const rules = codePoints.map(
    (vip, index) =>
      `nft add rule ${family} carom restore ${family} daddr ${formatIp(address)} ${family} dscp ${index + 1} ${family} daddr set ${formatIp(vip)} ${family} dscp set 0`,
  );
  return [
    `nft add table ${family} carom`,
    `nft 'add chain ${family} carom restore { type filter hook prerouting priority raw; }'`,
    ...rules,
  ];
}

/** A native device takes what anybody sends. */
function onlyDirectors(
  { tunnels: { fouPort, fouPortIpv6, guePort: gue }, outerSources }: DirectorConfig,
  { address, forwardings }: BackendUse,
  directors: readonly IpAddress[],
): readonly string[] {
  const family = address.family === 4 ? "ip" : "ip6";
  const from = sourcesOf(outerSources, address.family, directors).join(", ");
  const ports = [
    ...(forwardings.includes("fou") ? [fouPort, fouPortIpv6] : []),
    ...(forwardings.includes("gue") ? [gue] : []),
  ];
  const protocol = family === "ip" ? "ip protocol" : "ip6 nexthdr";
  const matches = [
    ...(forwardings.includes("ipip") ? [`${protocol} { 4, 41 }`] : []),
    ...(forwardings.includes("gre") ? [`${protocol} 47`] : []),
    ...(ports.length > 0 ? [`udp dport { ${ports.join(", ")} }`] : []),
  ];
  return [
    `nft add table ${family} carom`,
    `nft 'add chain ${family} carom directors { type filter hook prerouting priority raw; }'`,
    ...matches.map(
      (match) =>
        `nft 'add rule ${family} carom directors ${family} saddr != { ${from} } ${match} drop'`,
    ),
  ];
}
