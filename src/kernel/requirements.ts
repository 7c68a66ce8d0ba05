/**
 * Whether this machine and this process can run us at all, and otherwise one sentence that says what
 * is missing. The decision is pure; the facts are read apart.
 */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import type { CapabilityName } from "./capabilities.ts";
import {
  effectiveCapabilities,
  howToGrant,
  inUserNamespace,
  missingCapabilities,
} from "./capabilities.ts";
import { isAtLeast, parseKernelVersion } from "./kernel-version.ts";

export interface MachineFacts {
  /** As `process.platform`. */
  readonly platform: string;
  /** As `uname -r`. */
  readonly release: string;
  /** Effective capability set. */
  readonly capabilities: bigint;
  /** In a user namespace, as in rootless containers. */
  readonly userNamespace: boolean;
  /** The sysctl kernel.unprivileged_bpf_disabled, null when the kernel has no bpf(2). */
  readonly unprivilegedBpfDisabled: number | null;
}

/** The oldest kernel whose verifier and helpers the programs are written for. */
const OLDEST = { major: 6, minor: 1 } as const;

/** Why `action` ("run a director") cannot be done here, or null when it can. */
export function unmetRequirement(
  action: string,
  needed: readonly CapabilityName[],
  facts: MachineFacts,
): string | null {
  if (facts.platform !== "linux") {
    return `Cannot ${action}: this needs Linux, running ${facts.platform}`;
  }
  if (!isAtLeast(parseKernelVersion(facts.release), OLDEST.major, OLDEST.minor)) {
    return `Cannot ${action}: this needs kernel >= ${OLDEST.major}.${OLDEST.minor}, running ${facts.release}`;
  }
  if (facts.unprivilegedBpfDisabled === null) {
    return `Cannot ${action}: kernel ${facts.release} is built without bpf(2), use one with CONFIG_BPF_SYSCALL`;
  }
  if (facts.userNamespace) {
    return `Cannot ${action}: bpf(2) is refused in a user namespace, run it as root of the machine (no rootless container)`;
  }
  const missing = missingCapabilities(facts.capabilities, needed);
  if (missing.length === 0) return null;
  return `Cannot ${action}: missing ${missing.join(", ")}${unprivilegedRemark(missing, facts)}; ${howToGrant(missing)}`;
}

function unprivilegedRemark(missing: readonly CapabilityName[], facts: MachineFacts): string {
  if (!missing.includes("CAP_BPF")) return "";
  return facts.unprivilegedBpfDisabled === 0
    ? " (unprivileged bpf(2), allowed here, loads no XDP programs)"
    : ` (unprivileged bpf(2) is disabled, kernel.unprivileged_bpf_disabled = ${facts.unprivilegedBpfDisabled})`;
}

/** The facts of this machine and process. */
export function readMachineFacts(): MachineFacts {
  const isLinux = process.platform === "linux";
  return {
    platform: process.platform,
    release: release(),
    capabilities: isLinux ? effectiveCapabilities() : 0n,
    userNamespace: isLinux && inUserNamespace(),
    unprivilegedBpfDisabled: isLinux ? readUnprivilegedBpfDisabled() : null,
  };
}

// The sysctl is there exactly when bpf(2) is: kernel/bpf/syscall.c registers both.
function readUnprivilegedBpfDisabled(): number | null {
  try {
    return Number(readFileSync("/proc/sys/kernel/unprivileged_bpf_disabled", "latin1"));
  } catch {
    return null;
  }
}
