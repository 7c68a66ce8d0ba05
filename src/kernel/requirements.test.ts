import assert from "node:assert/strict";
import { test } from "node:test";
import type { CapabilityName } from "./capabilities.ts";
import {
  BPF_CAPABILITIES,
  isUserNamespaceMap,
  missingCapabilities,
  parseEffective,
} from "./capabilities.ts";
import type { MachineFacts } from "./requirements.ts";
import { unmetRequirement } from "./requirements.ts";

const ALL = 0x1ffffffffffn;
const NONE = 0n;
const NET_ADMIN = 1n << 12n;
const SYS_ADMIN = 1n << 21n;
const PERFMON = 1n << 38n;
const BPF = 1n << 39n;

const rows: readonly { name: string; effective: bigint; missing: readonly CapabilityName[] }[] = [
  { name: "root", effective: ALL, missing: [] },
  { name: "nobody", effective: NONE, missing: ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] },
  { name: "exactly what is needed", effective: NET_ADMIN | PERFMON | BPF, missing: [] },
  { name: "CAP_SYS_ADMIN for the two it covers", effective: SYS_ADMIN, missing: ["CAP_NET_ADMIN"] },
  { name: "all but one", effective: ALL & ~BPF & ~SYS_ADMIN, missing: ["CAP_BPF"] },
];

for (const { name, effective, missing } of rows) {
  test(`missingCapabilities() of ${name}`, () => {
    assert.deepEqual(missingCapabilities(effective, BPF_CAPABILITIES), missing);
  });
}

for (const { status, effective } of [
  {
    status: "Name:\tnode\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n",
    effective: ALL,
  },
  { status: "CapEff:\t0000000000000000\n", effective: NONE },
  { status: "Name:\tnode\n", effective: NONE },
]) {
  test(`parseEffective() of ${JSON.stringify(status)}`, () => {
    assert.equal(parseEffective(status), effective);
  });
}

for (const { map, wanted } of [
  { map: "         0          0 4294967295\n", wanted: false },
  { map: "         0       1000          1\n", wanted: true },
  { map: "         0       1000          1\n         1     100000      65536\n", wanted: true },
]) {
  test(`isUserNamespaceMap() says ${wanted} to ${JSON.stringify(map)}`, () => {
    assert.equal(isUserNamespaceMap(map), wanted);
  });
}

const GOOD: MachineFacts = {
  platform: "linux",
  release: "6.12.8-arch1-1",
  capabilities: ALL,
  userNamespace: false,
  unprivilegedBpfDisabled: 2,
};

const requirements: readonly {
  name: string;
  facts: Partial<MachineFacts>;
  sentence: string | null;
}[] = [
  { name: "a machine that has it all", facts: {}, sentence: null },
  { name: "the oldest kernel", facts: { release: "6.1.0-18-amd64" }, sentence: null },
  {
    name: "another system",
    facts: {
      platform: "darwin",
      release: "24.6.0",
      capabilities: NONE,
      unprivilegedBpfDisabled: null,
    },
    sentence: "Cannot run a director: this needs Linux, running darwin",
  },
  {
    name: "an old kernel",
    facts: { release: "5.15.0-91-generic" },
    sentence: "Cannot run a director: this needs kernel >= 6.1, running 5.15.0-91-generic",
  },
  {
    name: "a kernel without bpf(2)",
    facts: { unprivilegedBpfDisabled: null },
    sentence:
      "Cannot run a director: kernel 6.12.8-arch1-1 is built without bpf(2), use one with CONFIG_BPF_SYSCALL",
  },
  {
    name: "no privileges",
    facts: { capabilities: NONE },
    sentence:
      'Cannot run a director: missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON (unprivileged bpf(2) is disabled, kernel.unprivileged_bpf_disabled = 2); run as root, set "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON" in the systemd unit, or start it with "setpriv --inh-caps +bpf,+net_admin,+perfmon --ambient-caps +bpf,+net_admin,+perfmon"',
  },
  {
    name: "no privileges where anybody may call bpf(2)",
    facts: { capabilities: ALL & ~BPF & ~SYS_ADMIN, unprivilegedBpfDisabled: 0 },
    sentence:
      'Cannot run a director: missing CAP_BPF (unprivileged bpf(2), allowed here, loads no XDP programs); run as root, set "AmbientCapabilities=CAP_BPF" in the systemd unit, or start it with "setpriv --inh-caps +bpf --ambient-caps +bpf"',
  },
  {
    name: "root of a user namespace",
    facts: { userNamespace: true },
    sentence:
      "Cannot run a director: bpf(2) is refused in a user namespace, run it as root of the machine (no rootless container)",
  },
  {
    name: "one missing that has nothing to do with bpf(2)",
    facts: { capabilities: ALL & ~NET_ADMIN },
    sentence:
      'Cannot run a director: missing CAP_NET_ADMIN; run as root, set "AmbientCapabilities=CAP_NET_ADMIN" in the systemd unit, or start it with "setpriv --inh-caps +net_admin --ambient-caps +net_admin"',
  },
];

for (const { name, facts, sentence } of requirements) {
  test(`unmetRequirement() of ${name}`, () => {
    const found = unmetRequirement("run a director", BPF_CAPABILITIES, { ...GOOD, ...facts });
    assert.equal(found, sentence);
  });
}
