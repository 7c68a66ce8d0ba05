/** EPERM from bpf(2), as a sentence that says which privilege is missing. */
import {
  BPF_CAPABILITIES,
  effectiveCapabilities,
  inUserNamespace,
  howToGrant,
  missingCapabilities,
} from "./capabilities.ts";
import { KernelError } from "./errors.ts";

/** The error for `action` ("create map …") that was refused with EPERM. */
export function notPermitted(action: string, cause: unknown): KernelError {
  const missing = missingCapabilities(effectiveCapabilities(), BPF_CAPABILITIES);
  const why = inUserNamespace()
    ? "bpf(2) is refused in a user namespace, run it as root of the machine (no rootless container)"
    : missing.length > 0
      ? `missing ${missing.join(", ")}; ${howToGrant(missing)}`
      : "EPERM although no capability is missing; bpf(2) is forbidden by seccomp, kernel lockdown or a security module";
  return new KernelError(`Cannot ${action}: ${why}`, { code: "NOT_PERMITTED" }, { cause });
}
