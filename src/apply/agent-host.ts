/**
 * What the agent changes on its host: sysctls of its interfaces, and VIPs on `lo`. The sysctls come
 * first and go last, since a VIP on a host that answers ARP for it takes the VIP's traffic away from
 * the directors. Everything is synchronous and can be done again at any time.
 */
import type { SysctlKey } from "../kernel/sysctl.ts";
import { formatSysctl, readSysctl, writeSysctl } from "../kernel/sysctl.ts";
import { NetlinkError } from "../kernel/netlink.ts";
import type { Rtnetlink } from "../kernel/rtnetlink.ts";
import { type NewRoute, RT_TABLE_LOCAL } from "../kernel/rtnetlink-routes.ts";
import { type IpPrefix, isWhole } from "../net/prefix.ts";
import {
  agentSettings,
  agentSysctlKey,
  planSysctls,
  restoreOf,
  type SysctlChange,
  type SysctlReading,
} from "../plan/agent-sysctls.ts";
import { formatVip, ownPrefixes, planVips } from "../plan/agent-vips.ts";
import { nothingChanged, readAgentState, writeAgentState } from "./agent-state.ts";

/** What was done, or could not be; `text` says it as the end of a sentence, for people. */
export interface HostStep {
  readonly kind: "sysctl set" | "sysctl restored" | "vip added" | "vip removed" | "left alone";
  readonly text: string;
}

export interface AgentHostOptions {
  readonly stateFile: string;
  readonly interfaces: readonly string[];
  readonly vips: readonly IpPrefix[];
}

/**
 * Makes the host as the options say, and returns what it changed for that. Doing it again changes
 * nothing, or what somebody else undid.
 * @throws {Error} when the kernel refuses, or settings of the host forbid it; what was changed before is recorded
 */
export function applyAgentHost(options: AgentHostOptions, rtnetlink: Rtnetlink): HostStep[] {
  const { stateFile } = options;
  const steps: HostStep[] = [];
  const state = readAgentState(stateFile);
  const sysctls = planSysctls(readAgentSysctls(options.interfaces), state.sysctls);
  const [problem] = sysctls.problems;
  if (problem !== undefined) throw new Error(problem);
  const loopback = loopbackOf(rtnetlink);
  const routes = rtnetlink.routes(RT_TABLE_LOCAL);
  const present = ownPrefixes(rtnetlink.addresses(), routes, loopback);
  const vips = planVips(options.vips, state.vips, present);

  const changes = [sysctls.write, sysctls.restore, vips.add, vips.remove];
  const isRecorded =
    sysctls.ours.length === state.sysctls.length && vips.ours.length === state.vips.length;
  if (isRecorded && changes.every(({ length }) => length === 0)) return steps;

  // One record before the first change holds for all of them: what it names and is not done yet
  // is found as it was when it is put back.
  writeAgentState(stateFile, {
    sysctls: [...sysctls.ours, ...sysctls.restore],
    vips: [...vips.ours, ...vips.remove],
  });
  for (const change of sysctls.write) {
    writeSysctl(change.key, change.set);
    steps.push({ kind: "sysctl set", text: changeText(change.key, change.original, change.set) });
  }
  for (const vip of vips.add) {
    if (addVip(rtnetlink, loopback, vip)) steps.push({ kind: "vip added", text: onLo(vip) });
  }
  for (const vip of vips.remove) {
    if (deleteVip(rtnetlink, loopback, vip)) steps.push({ kind: "vip removed", text: onLo(vip) });
  }
  for (const change of sysctls.restore) steps.push(...restoreSysctl(change));
  writeAgentState(stateFile, { sysctls: sysctls.ours, vips: vips.ours });
  return steps;
}

/**
 * Puts back what the state file records, VIPs first, and removes the file.
 * @throws {Error} when the kernel refuses; the file stays, and doing it again goes on from there
 */
export function restoreAgentHost(stateFile: string, rtnetlink: Rtnetlink): HostStep[] {
  const { sysctls, vips } = readAgentState(stateFile);
  const loopback = loopbackOf(rtnetlink);
  const steps: HostStep[] = [];
  for (const vip of vips.toReversed()) {
    if (deleteVip(rtnetlink, loopback, vip)) steps.push({ kind: "vip removed", text: onLo(vip) });
  }
  for (const change of sysctls.toReversed()) steps.push(...restoreSysctl(change));
  writeAgentState(stateFile, nothingChanged);
  return steps;
}

/** The settings of those interfaces that are there. */
export function readAgentSysctls(interfaces: readonly string[]): SysctlReading[] {
  return interfaces.flatMap((name) =>
    agentSettings.flatMap((setting): SysctlReading[] => {
      const all = readSysctl(agentSysctlKey("all", setting));
      const own = readSysctl(agentSysctlKey(name, setting));
      if (all === undefined || own === undefined) return [];
      return [{ interface: name, setting, all, own }];
    }),
  );
}

function restoreSysctl(change: SysctlChange): HostStep[] {
  const now = readSysctl(change.key);
  switch (restoreOf(change, now)) {
    case "nothing to do":
      return [];
    case "write the original":
      writeSysctl(change.key, change.original);
      return [
        { kind: "sysctl restored", text: changeText(change.key, change.set, change.original) },
      ];
    case "changed by somebody else":
      return [
        {
          kind: "left alone",
          text: `${formatSysctl(change.key)} is ${now}, neither the ${change.set} set here nor the ${change.original} from before`,
        },
      ];
  }
}

/** Whether it was added: somebody may have been faster. */
function addVip(rtnetlink: Rtnetlink, loopback: number, vip: IpPrefix): boolean {
  const { address, length } = vip;
  return unless("EEXIST", () => {
    if (!isWhole(vip)) return rtnetlink.addRoute(localRoute(loopback, vip));
    rtnetlink.addAddress({
      ifindex: loopback,
      address,
      prefixLength: length,
      // Usable at once; on lo nobody else could have it.
      flags: address.family === 6 ? ["nodad"] : [],
    });
  });
}

/** Whether it was there. */
function deleteVip(rtnetlink: Rtnetlink, loopback: number, vip: IpPrefix): boolean {
  const { address, length } = vip;
  if (!isWhole(vip)) {
    return unless("ESRCH", () => rtnetlink.deleteRoute(localRoute(loopback, vip)));
  }
  return unless("EADDRNOTAVAIL", () =>
    rtnetlink.deleteAddress({ ifindex: loopback, address, prefixLength: length }),
  );
}

/** Makes every address of a prefix this host's own. */
const localRoute = (loopback: number, destination: IpPrefix): NewRoute => ({
  destination,
  type: "local",
  scope: "host",
  table: RT_TABLE_LOCAL,
  nextHops: [{ ifindex: loopback }],
});

function unless(code: string, change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (error instanceof NetlinkError && error.code === code) return false;
    throw error;
  }
}

function loopbackOf(rtnetlink: Rtnetlink): number {
  const link = rtnetlink.link("lo");
  if (link === undefined) throw new Error("Cannot use VIPs: this network namespace has no lo");
  return link.ifindex;
}

const onLo = (vip: IpPrefix): string => `${formatVip(vip)} on lo`;

const changeText = (key: SysctlKey, from: string, to: string): string =>
  `${formatSysctl(key)} from ${from} to ${to}`;
