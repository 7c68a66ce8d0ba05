import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { call, SystemError } from "./libc.ts";

test("call() names an errno as the man pages do", () => {
  assert.throws(
    () => call("close", -1),
    (error) => error instanceof SystemError && error.code === "EBADF" && error.call === "close",
  );
  assert.equal(new SystemError("recv", 11).code, "EAGAIN");
  assert.equal(new SystemError("ioctl", 95).code, "EOPNOTSUPP");
  assert.equal(new SystemError("ioctl", 9999).code, "errno 9999");
});

test("watchReadable() tells of input until closed, and what it throws is uncaught", () => {
  const code = `
    const { call, memory, watchReadable } = await import(${JSON.stringify(import.meta.resolve("./libc.ts"))});
    const watch = watchReadable(0, () => {
      const buffer = memory(16);
      console.log("read", call("recv", 0, buffer, buffer.length, 0));
      throw new Error("inside");
    });
    process.once("uncaughtException", ({ message }) => {
      console.log("uncaught", message);
      watch.close();
    });`;
  // Node connects children by socket pairs, which recv(2) takes.
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", code], {
    input: "hello",
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(stdout, "read 5\nuncaught inside\n", stderr);
});
