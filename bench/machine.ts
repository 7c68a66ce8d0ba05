/** What of this machine the figures depend on. */
import { readFileSync } from "node:fs";
import { cpus, release } from "node:os";

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cpus: number;
  /** By the kernel's name: these two decide what a call, and so a helper, costs. */
  readonly mitigations: Readonly<Record<(typeof MITIGATIONS)[number], string>>;
}

const MITIGATIONS = ["retbleed", "spec_rstack_overflow", "spectre_v2"] as const;

export function machine(): Machine {
  const all = cpus();
  return {
    kernel: release(),
    cpu: all[0]?.model ?? "unknown",
    cpus: all.length,
    mitigations: Object.fromEntries(
      MITIGATIONS.map((name) => [name, mitigation(name)]),
    ) as Machine["mitigations"],
  };
}

function mitigation(name: string): string {
  try {
    return readFileSync(`/sys/devices/system/cpu/vulnerabilities/${name}`, "utf8").trim();
  } catch {
    return "unknown";
  }
}
