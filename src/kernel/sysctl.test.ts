import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSysctl, readSysctl, sysctlPath } from "./sysctl.ts";

test("sysctlPath() keeps the dots of an interface's name", () => {
  const key = ["net", "ipv4", "conf", "eth0.10", "rp_filter"];
  assert.equal(sysctlPath(key), "/proc/sys/net/ipv4/conf/eth0.10/rp_filter");
  assert.equal(formatSysctl(key), "net.ipv4.conf.eth0/10.rp_filter");
});

for (const part of ["", ".", "..", "a/b", "a\0b"]) {
  test(`sysctlPath() refuses the part ${JSON.stringify(part)}`, () => {
    assert.throws(() => sysctlPath(["net", part]), TypeError);
  });
}

test("readSysctl() reads a value without its newline, and undefined for a key there is not", () => {
  assert.match(readSysctl(["kernel", "ostype"]) ?? "", /^\w+$/);
  assert.equal(readSysctl(["kernel", "no_such_key"]), undefined);
});
