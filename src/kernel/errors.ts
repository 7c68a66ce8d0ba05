/**
 * The one error of the bpf(2) half of `kernel/`. `code` says which action failed in which way, the
 * message says action, state and what to do; a rejected program carries the verifier's whole log.
 */
import type { VerifierExplanation } from "../bpf/verifier-log.ts";
import { SystemError } from "./libc.ts";

export type KernelErrorCode =
  /** bpf(2) or the device refused for want of privileges; the message names them. */
  | "NOT_PERMITTED"
  | "MAP_CREATE"
  /** Lookup, update, delete, batch or mmap. */
  | "MAP_ACCESS"
  /** A pinned map or a `MapSpec` is not what the caller expects. */
  | "MAP_MISMATCH"
  | "BTF_LOAD"
  /** With `log` and `explanation` when the verifier spoke. */
  | "PROG_LOAD"
  | "PROG_INFO"
  | "LINK_CREATE"
  /** The device already has a program. */
  | "LINK_BUSY"
  | "LINK_UPDATE"
  /** The link runs another program than the one expected: somebody else changed it. */
  | "LINK_CHANGED"
  | "LINK_INFO"
  | "PIN"
  | "PIN_EXISTS"
  | "PIN_MISSING"
  /** The path is not on a BPF file system. */
  | "NO_BPFFS"
  | "TEST_RUN"
  | "GRACE_PERIOD"
  /** The kernel process ended, or cannot be started. */
  | "KERNEL_PROCESS";

export interface KernelErrorDetails {
  readonly code: KernelErrorCode;
  /** Name of the errno, `EPERM`, when a system call failed. */
  readonly errno?: string | null;
  readonly log?: string | null;
  readonly explanation?: VerifierExplanation | null;
}

/** What crosses a process boundary of a `KernelError`. */
export interface PlainKernelError extends Required<KernelErrorDetails> {
  readonly message: string;
  readonly stack: string;
}

export class KernelError extends Error {
  readonly code: KernelErrorCode;
  readonly errno: string | null;
  /** The verifier's (or BTF checker's) whole log. */
  readonly log: string | null;
  readonly explanation: VerifierExplanation | null;

  constructor(message: string, details: KernelErrorDetails, options?: ErrorOptions) {
    super(message, options);
    this.name = "KernelError";
    this.code = details.code;
    const cause = options?.cause;
    this.errno = details.errno ?? (cause instanceof SystemError ? cause.code : null);
    this.log = details.log ?? null;
    this.explanation = details.explanation ?? null;
  }
}

/** Plain data that structured cloning carries; `cause` stays behind, its errno does not. */
export const toPlainError = (error: KernelError): PlainKernelError => ({
  message: error.message,
  stack: error.stack ?? "",
  code: error.code,
  errno: error.errno,
  log: error.log,
  explanation: error.explanation,
});

/** The error as it was in the other process; `cause` holds the stack over there. */
export function fromPlainError(plain: PlainKernelError): KernelError {
  const there = new Error(plain.message);
  there.stack = plain.stack;
  return new KernelError(plain.message, plain, { cause: there });
}

/** The errno's name of a failed system call; anything else is a bug and goes on up. */
export function errnoOf(error: unknown): string {
  if (error instanceof SystemError) return error.code;
  throw error;
}
