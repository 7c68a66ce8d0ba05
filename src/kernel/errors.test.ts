import assert from "node:assert/strict";
import { test } from "node:test";
import { explainVerifierLog } from "../bpf/verifier-log.ts";
import { fromPlainError, KernelError, toPlainError } from "./errors.ts";
import { SystemError } from "./libc.ts";

test("KernelError takes its errno from the system call that failed", () => {
  const cause = new SystemError("syscall", 16);
  const error = new KernelError("Cannot attach", { code: "LINK_BUSY" }, { cause });
  assert.equal(error.errno, "EBUSY");
  assert.equal(error.cause, cause);
  assert.equal(new KernelError("Cannot", { code: "KERNEL_PROCESS" }).errno, null);
});

test("fromPlainError(toPlainError()) through structured cloning keeps all a caller looks at", () => {
  const log = "unreachable insn 2\n";
  const lines = [{ instruction: 0, file: "/src/lb.ts", line: 3, column: 1, text: "x" }];
  const explanation = explainVerifierLog(log, lines);
  const details = { code: "PROG_LOAD", errno: "EINVAL", log, explanation } as const;
  const error = new KernelError("Cannot load", details);
  const there = fromPlainError(structuredClone(toPlainError(error)));
  assert.ok(there instanceof KernelError);
  const { message, code, errno } = there;
  assert.deepEqual(
    { message, code, errno },
    { message: "Cannot load", code: "PROG_LOAD", errno: "EINVAL" },
  );
  assert.equal(there.log, log);
  assert.deepEqual(there.explanation, explanation);
  assert.match(String((there.cause as Error).stack), /errors\.test\.ts/, "where it was thrown");
});
