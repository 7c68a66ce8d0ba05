/**
 * Which kernel settings the agent changes, and how it puts them back. Pure: values come in, changes
 * go out.
 *
 * All three are per interface, and the kernel goes by the larger of `conf/all` and `conf/IF`
 * (IN_DEV_MAXCONF, include/linux/inetdevice.h). The agent only ever writes `conf/IF`.
 *
 * IPv6 needs none: the kernel answers a neighbour solicitation only for addresses of the interface
 * it came in by, so one on `lo` stays quiet (net/ipv6/ndisc.c, ndisc_recv_ns()), and there is no
 * reverse path filter outside netfilter.
 */
import { formatSysctl, type SysctlKey } from "../kernel/sysctl.ts";

/** In the order they are set. */
export const agentSettings = ["arp_ignore", "arp_announce", "rp_filter"] as const;
export type AgentSetting = (typeof agentSettings)[number];

/** What was read of one setting on one interface. */
export interface SysctlReading {
  readonly interface: string;
  readonly setting: AgentSetting;
  /** The value of `conf/all`. */
  readonly all: string;
  /** The value of `conf/IF`. */
  readonly own: string;
}

/** A value of ours in place of one that was there before; both as text, as /proc/sys has them. */
export interface SysctlChange {
  readonly key: SysctlKey;
  readonly original: string;
  readonly set: string;
}

export interface SysctlPlan {
  /** To write, in this order. */
  readonly write: readonly SysctlChange[];
  /** Everything of ours once that is written, to be put back at the end. */
  readonly ours: readonly SysctlChange[];
  /** Set by an earlier run, for interfaces that are not configured any more: to be put back now. */
  readonly restore: readonly SysctlChange[];
  /** What no value of ours can mend. */
  readonly problems: readonly string[];
}

interface Rule {
  readonly isFine: (effective: number) => boolean;
  readonly wanted: number;
  readonly why: string;
}

const rules: Readonly<Record<AgentSetting, Rule>> = {
  // net/ipv4/arp.c, arp_ignore(): 1 and 2 answer for addresses of the interface only, 8 never. 3
  // leaves out addresses of scope host alone, and 4 to 7 are reserved and answer like 0.
  arp_ignore: {
    isFine: (effective) => effective === 1 || effective === 2 || effective === 8,
    wanted: 1,
    why: "this host would answer ARP for VIPs on lo",
  },
  // net/ipv4/arp.c, arp_solicit(): only 2 never asks in the name of a VIP.
  arp_announce: {
    isFine: (effective) => effective === 2,
    wanted: 2,
    why: "this host would ask by ARP in the name of VIPs on lo",
  },
  // net/ipv4/fib_frontend.c, __fib_validate_source(): 1 drops a client's packet unless the answer
  // leaves by the interface it came in by; 2 asks for any route.
  rp_filter: {
    isFine: (effective) => effective !== 1,
    wanted: 2,
    why: "this host would drop packets whose answers leave by another interface",
  },
};

export const agentSysctlKey = (name: string, setting: AgentSetting): SysctlKey => [
  "net",
  "ipv4",
  "conf",
  name,
  setting,
];

/** What to change. `known` is what earlier runs changed and did not put back. */
export function planSysctls(
  readings: readonly SysctlReading[],
  known: readonly SysctlChange[],
): SysctlPlan {
  const write: SysctlChange[] = [];
  const ours: SysctlChange[] = [];
  const problems: string[] = [];
  for (const reading of readings) {
    const key = agentSysctlKey(reading.interface, reading.setting);
    const before = known.find((change) => sameKey(change.key, key));
    if (before !== undefined && before.set === reading.own) {
      ours.push(before);
      continue;
    }
    const { isFine, wanted, why } = rules[reading.setting];
    const all = Number(reading.all);
    if (isFine(Math.max(all, Number(reading.own)))) continue;
    if (!isFine(Math.max(all, wanted))) {
      const name = formatSysctl(agentSysctlKey("all", reading.setting));
      problems.push(
        `Cannot serve VIPs on ${reading.interface}: ${name} is ${reading.all}, with which ${why}, whatever the interface says; set it with "sysctl -w ${name}=${wanted}"`,
      );
      continue;
    }
    const change = { key, original: reading.own, set: String(wanted) };
    write.push(change);
    ours.push(change);
  }
  const read = readings.map(({ interface: name, setting }) => agentSysctlKey(name, setting));
  const restore = known.filter(({ key }) => !read.some((other) => sameKey(other, key)));
  return { write, ours, restore, problems };
}

/** How to put one change back, given what is there now (`undefined`: the interface is gone). */
export type SysctlRestore = "write the original" | "nothing to do" | "changed by somebody else";

export function restoreOf(change: SysctlChange, now: string | undefined): SysctlRestore {
  if (now === undefined || now === change.original) return "nothing to do";
  return now === change.set ? "write the original" : "changed by somebody else";
}

const sameKey = (a: SysctlKey, b: SysctlKey): boolean =>
  a.length === b.length && a.every((part, index) => part === b[index]);
