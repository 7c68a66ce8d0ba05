/**
 * Capabilities of this process (capabilities(7)): which of those needed are missing, and how they
 * are given.
 */
import { readFileSync } from "node:fs";

/** Bits, include/uapi/linux/capability.h. */
export const Capability = {
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_ADMIN: 21,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const;
export type CapabilityName = keyof typeof Capability;

/**
 * What bpf(2) asks of who loads and attaches network programs. Without CAP_PERFMON the verifier
 * guards every access against speculation and rejects programs it would otherwise take
 * (kernel/bpf/verifier.c, `bypass_spec_v1`).
 */
export const BPF_CAPABILITIES: readonly CapabilityName[] = [
  "CAP_BPF",
  "CAP_NET_ADMIN",
  "CAP_PERFMON",
];

// include/linux/capability.h: bpf_capable() and perfmon_capable() take CAP_SYS_ADMIN for these.
const IN_SYS_ADMIN: ReadonlySet<CapabilityName> = new Set<CapabilityName>([
  "CAP_BPF",
  "CAP_PERFMON",
]);

/** Which of `needed` a capability set (64 bits, as in `CapEff`) lacks. */
export function missingCapabilities(
  effective: bigint,
  needed: readonly CapabilityName[],
): readonly CapabilityName[] {
  const has = (name: CapabilityName): boolean =>
    ((effective >> BigInt(Capability[name])) & 1n) === 1n;
  return needed.filter((name) => !has(name) && !(IN_SYS_ADMIN.has(name) && has("CAP_SYS_ADMIN")));
}

/** How to give `missing` to a process, as the end of a sentence. */
export function howToGrant(missing: readonly CapabilityName[]): string {
  const list = missing.map((name) => name.slice("CAP_".length).toLowerCase());
  const plus = list.map((name) => `+${name}`).join(",");
  return `run as root, set "AmbientCapabilities=${missing.join(" ")}" in the systemd unit, or start it with "setpriv --inh-caps ${plus} --ambient-caps ${plus}"`;
}

/** The `CapEff` of a `/proc/<pid>/status`; 0 when the text has none. */
export function parseEffective(status: string): bigint {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(status);
  return BigInt(`0x${match?.[1] ?? "0"}`);
}

/** Effective capabilities of this process, which mean less in a user namespace (`inUserNamespace`). */
export const effectiveCapabilities = (): bigint =>
  parseEffective(readFileSync("/proc/self/status", "latin1"));

/** Whether a `/proc/<pid>/uid_map` is another than the machine's own, which maps all ids to themselves. */
export const isUserNamespaceMap = (uidMap: string): boolean =>
  uidMap.trim().split(/\s+/).join(" ") !== "0 0 4294967295";

/** Whether this process is in a user namespace, where bpf(2) is refused to whatever capabilities it has. */
export const inUserNamespace = (): boolean =>
  isUserNamespaceMap(readFileSync("/proc/self/uid_map", "latin1"));
