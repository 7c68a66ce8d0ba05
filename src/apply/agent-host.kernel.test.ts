/** The host's changes and their record, against the kernel, in a network namespace of its own. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { makeVeth, skip } from "../kernel/kernel-fixture.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctl.ts";
import { vip } from "../model/service-fixture.ts";
import { formatIp } from "../net/address.ts";
import { formatPrefix } from "../net/prefix.ts";
import { agentSysctlKey } from "../plan/agent-sysctls.ts";
import { applyAgentHost, restoreAgentHost } from "./agent-host.ts";
import { nothingChanged, readAgentState, writeAgentState } from "./agent-state.ts";

const options = { skip, timeout: 20_000 };
const folder = mkdtempSync(join(tmpdir(), "carom-agent-host-"));
after(() => rmSync(folder, { recursive: true }));
const stateFile = join(folder, "agent.json");

const VIP = vip("203.0.113.200");
const ARP_IGNORE = agentSysctlKey("car0", "arp_ignore");
const wanted = { stateFile, interfaces: ["car0"], vips: [VIP] };

function world(): Rtnetlink {
  const rtnetlink = Rtnetlink.open();
  if (rtnetlink.link("car0") === undefined) makeVeth("car0");
  rtnetlink.setLink(1, { up: true });
  return rtnetlink;
}

const onLo = (rtnetlink: Rtnetlink): string[] =>
  rtnetlink
    .addresses(4)
    .filter(({ ifindex }) => ifindex === 1)
    .map(({ address }) => formatIp(address));

test("applyAgentHost() a second time changes nothing, restoreAgentHost() too", options, () => {
  using rtnetlink = world();
  const kinds = applyAgentHost(wanted, rtnetlink).map(({ kind }) => kind);
  assert.deepEqual(kinds, ["sysctl set", "sysctl set", "vip added"]);
  assert.deepEqual(applyAgentHost(wanted, rtnetlink), []);
  assert.deepEqual(
    restoreAgentHost(stateFile, rtnetlink).map(({ text }) => text),
    [
      "203.0.113.200/32 on lo",
      "net.ipv4.conf.car0.arp_announce from 2 to 0",
      "net.ipv4.conf.car0.arp_ignore from 1 to 0",
    ],
  );
  assert.deepEqual(restoreAgentHost(stateFile, rtnetlink), []);
  assert.deepEqual(onLo(rtnetlink), ["127.0.0.1"]);
});

test("applyAgentHost() that cannot record what it does, does nothing", options, () => {
  using rtnetlink = world();
  writeFileSync(join(folder, "file"), "");
  const unwritable = { ...wanted, stateFile: join(folder, "file/agent.json") };
  assert.throws(() => applyAgentHost(unwritable, rtnetlink), /ENOTDIR|EEXIST/);
  assert.equal(readSysctl(ARP_IGNORE), "0");
  assert.deepEqual(onLo(rtnetlink), ["127.0.0.1"]);
});

test("applyAgentHost() records a change before it is made", options, () => {
  using rtnetlink = world();
  // No interface can have a multicast address: the kernel refuses after the sysctls were set.
  const refused = { ...wanted, vips: [VIP, vip("ff02::1")] };
  assert.throws(() => applyAgentHost(refused, rtnetlink), /Cannot add address ff02::1\/128/);
  assert.equal(readSysctl(ARP_IGNORE), "1");
  const { sysctls, vips } = readAgentState(stateFile);
  assert.deepEqual(
    sysctls.map(({ original, set }) => `${original} > ${set}`),
    ["0 > 1", "0 > 2"],
  );
  assert.deepEqual(vips.map(formatPrefix), ["203.0.113.200", "ff02::1"]);
  assert.equal(restoreAgentHost(stateFile, rtnetlink).length, 3);
  assert.equal(readSysctl(ARP_IGNORE), "0");
});

test(
  "applyAgentHost() moves to other interfaces and VIPs, and puts the first back",
  options,
  () => {
    using rtnetlink = world();
    if (rtnetlink.link("car1") === undefined) makeVeth("car1");
    applyAgentHost(wanted, rtnetlink);
    const other = { stateFile, interfaces: ["car1"], vips: [vip("203.0.113.201")] };
    const kinds = applyAgentHost(other, rtnetlink).map(({ kind }) => kind);
    assert.deepEqual(kinds, [
      "sysctl set",
      "sysctl set",
      "vip added",
      "vip removed",
      "sysctl restored",
      "sysctl restored",
    ]);
    assert.deepEqual(onLo(rtnetlink), ["127.0.0.1", "203.0.113.201"]);
    assert.equal(readSysctl(ARP_IGNORE), "0");
    restoreAgentHost(stateFile, rtnetlink);
    assert.equal(readSysctl(agentSysctlKey("car1", "arp_ignore")), "0");
  },
);

test("restoreAgentHost() undoes nothing that was recorded and not done", options, () => {
  using rtnetlink = world();
  writeSysctl(ARP_IGNORE, "0");
  writeAgentState(stateFile, {
    sysctls: [{ key: ARP_IGNORE, original: "0", set: "1" }],
    vips: [VIP],
  });
  assert.deepEqual(restoreAgentHost(stateFile, rtnetlink), []);
  assert.deepEqual(readAgentState(stateFile), nothingChanged);
});
