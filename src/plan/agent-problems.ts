/**
 * Whether an agent's configuration fits the host it is to run on: every problem at once, each a
 * sentence that says what to do. Pure; the facts are read by the daemon before it touches anything.
 */
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { AgentConfig, AgentMode } from "../model/model.ts";
import { formatIp, type IpAddress, sameIp } from "../net/address.ts";
import { formatPrefix, type IpPrefix, isWhole, prefixContains } from "../net/prefix.ts";
import { planSysctls, type SysctlChange, type SysctlReading } from "./agent-sysctls.ts";

export interface AgentHostFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  /** Interfaces whose XDP program is this instance's own, left by the run before. */
  readonly ownIfindexes: ReadonlySet<number>;
  /** Describes the XDP program on an interface: `id 12 "xdp_foo"`. */
  readonly xdpProgramOn: (link: Link) => string;
  readonly sysctls: readonly SysctlReading[];
  /** What earlier runs changed and did not put back. */
  readonly knownSysctls: readonly SysctlChange[];
}

const LOOPBACK = "lo";

export function agentProblems(config: AgentConfig, facts: AgentHostFacts): readonly string[] {
  return [
    ...loopbackProblems(facts),
    ...config.interfaces.flatMap((name) => interfaceProblems(name, config.mode, facts)),
    ...config.vips.flatMap((vip) => vipProblems(vip, facts)),
    ...config.dscp.flatMap(({ address }) => dscpProblems(address, facts)),
    ...planSysctls(facts.sysctls, facts.knownSysctls).problems,
  ];
}

/** The kernel makes no local route for an address of a device that is down. */
function loopbackProblems({ links }: AgentHostFacts): readonly string[] {
  if (links.find(({ name }) => name === LOOPBACK)?.up === true) return [];
  return [
    `Cannot put VIPs on ${LOOPBACK}: it is down; set it up with "ip link set ${LOOPBACK} up"`,
  ];
}

function interfaceProblems(
  name: string,
  mode: AgentMode,
  facts: AgentHostFacts,
): readonly string[] {
  const link = facts.links.find((candidate) => candidate.name === name);
  if (link === undefined) {
    const known = facts.links.map((candidate) => candidate.name).join(", ");
    return [`Cannot attach to ${name}: no such interface; this host has ${known}`];
  }
  if (link.mac === null || name === LOOPBACK) {
    return [
      `Cannot attach to ${name}: it is no Ethernet interface; name the one that packets of the directors arrive on`,
    ];
  }
  if (!link.up) {
    return [`Cannot attach to ${name}: it is down; set it up with "ip link set ${name} up"`];
  }
  const [xdp] = link.xdp;
  if (mode === "tc" || xdp === undefined || facts.ownIfindexes.has(link.ifindex)) return [];
  const off = { native: "xdpdrv", generic: "xdpgeneric", offloaded: "xdpoffload" }[xdp.mode];
  return [
    `Cannot attach to ${name}: it already has a ${xdp.mode} XDP program (${facts.xdpProgramOn(link)}); stop what it belongs to, or remove it with "ip link set dev ${name} ${off} off"`,
  ];
}

/** For another address, packets that this host only forwards would be changed. */
function dscpProblems(own: IpAddress, { addresses }: AgentHostFacts): readonly string[] {
  if (addresses.some(({ address }) => sameIp(address, own))) return [];
  return [
    `Cannot take packets by dscp to ${formatIp(own)}: this host does not have the address; add it to an interface, or correct agent.dscp ("carom backend-setup" prints it)`,
  ];
}

function vipProblems(vip: IpPrefix, facts: AgentHostFacts): readonly string[] {
  return facts.addresses.flatMap(({ address, ifindex, prefixLength }) => {
    if (!prefixContains(vip, address)) return [];
    const name = facts.links.find((link) => link.ifindex === ifindex)?.name ?? String(ifindex);
    if (name === LOOPBACK) return [];
    const text = formatIp(address);
    const what = isWhole(vip) ? "the address" : text;
    return [
      `Cannot serve VIP ${formatPrefix(vip)}: this host has ${what} on ${name}, where it answers for it instead of the directors; remove it with "ip addr del ${text}/${prefixLength} dev ${name}"`,
    ];
  });
}
