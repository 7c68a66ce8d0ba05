import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSysctl } from "../kernel/sysctl.ts";
import {
  agentSettings,
  agentSysctlKey,
  type AgentSetting,
  planSysctls,
  restoreOf,
  type SysctlChange,
  type SysctlReading,
} from "./agent-sysctls.ts";

const change = (
  name: string,
  setting: AgentSetting,
  original: string,
  set: string,
): SysctlChange => ({ key: agentSysctlKey(name, setting), original, set });

const texts = (changes: readonly SysctlChange[]): string[] =>
  changes.map(({ key, original, set }) => `${formatSysctl(key)} ${original} > ${set}`);

/** One setting: the values of conf/all and conf/eth0, and what is written to conf/eth0. */
const decisions: readonly (readonly [
  setting: AgentSetting,
  all: number,
  own: number,
  written: string | null,
])[] = [
  ["arp_ignore", 0, 0, "1"],
  ["arp_ignore", 1, 0, null],
  ["arp_ignore", 0, 1, null],
  ["arp_ignore", 0, 2, null],
  ["arp_ignore", 0, 8, null],
  ["arp_ignore", 2, 3, "1"],
  ["arp_ignore", 0, 5, "1"],
  ["arp_announce", 0, 0, "2"],
  ["arp_announce", 1, 1, "2"],
  ["arp_announce", 2, 0, null],
  ["arp_announce", 0, 2, null],
  ["rp_filter", 0, 0, null],
  ["rp_filter", 1, 0, "2"],
  ["rp_filter", 0, 1, "2"],
  ["rp_filter", 1, 1, "2"],
  ["rp_filter", 2, 1, null],
  ["rp_filter", 1, 2, null],
];

for (const [setting, all, own, written] of decisions) {
  test(`planSysctls() of ${setting} all=${all} eth0=${own} writes ${written ?? "nothing"}`, () => {
    const reading = { interface: "eth0", setting, all: String(all), own: String(own) };
    const plan = planSysctls([reading], []);
    const expected = written === null ? [] : [change("eth0", setting, String(own), written)];
    assert.deepEqual(plan, { write: expected, ours: expected, restore: [], problems: [] });
  });
}

test("planSysctls() says what conf/all forbids, and what to set it to", () => {
  const reading: SysctlReading = { interface: "eth0", setting: "arp_ignore", all: "3", own: "0" };
  const plan = planSysctls([reading], []);
  assert.deepEqual(plan.write, []);
  assert.deepEqual(plan.problems, [
    'Cannot serve VIPs on eth0: net.ipv4.conf.all.arp_ignore is 3, with which this host would answer ARP for VIPs on lo, whatever the interface says; set it with "sysctl -w net.ipv4.conf.all.arp_ignore=1"',
  ]);
});

const fresh = (name: string): SysctlReading[] =>
  agentSettings.map((setting) => ({ interface: name, setting, all: "0", own: "0" }));

test("planSysctls() keeps the dots of a VLAN's name in one part of the key", () => {
  const { write } = planSysctls(fresh("eth0.10"), []);
  assert.deepEqual(texts(write), [
    "net.ipv4.conf.eth0/10.arp_ignore 0 > 1",
    "net.ipv4.conf.eth0/10.arp_announce 0 > 2",
  ]);
});

test("planSysctls() after its own changes writes nothing and keeps the originals", () => {
  const first = planSysctls(fresh("eth0"), []);
  const readings = fresh("eth0").map((reading) => ({
    ...reading,
    own: first.write.find(({ key }) => key.at(-1) === reading.setting)?.set ?? reading.own,
  }));
  const second = planSysctls(readings, first.ours);
  assert.deepEqual(second, { write: [], ours: first.ours, restore: [], problems: [] });
});

test("planSysctls() forgets a value somebody else changed meanwhile", () => {
  const reading: SysctlReading = { interface: "eth0", setting: "arp_ignore", all: "0", own: "2" };
  const plan = planSysctls([reading], [change("eth0", "arp_ignore", "0", "1")]);
  assert.deepEqual(plan, { write: [], ours: [], restore: [], problems: [] });
});

test("planSysctls() writes again what somebody else put back", () => {
  const known = change("eth0", "arp_ignore", "0", "1");
  const reading: SysctlReading = { interface: "eth0", setting: "arp_ignore", all: "0", own: "0" };
  const plan = planSysctls([reading], [known]);
  assert.deepEqual(plan, { write: [known], ours: [known], restore: [], problems: [] });
});

test("planSysctls() restores interfaces that are configured no more", () => {
  const known = change("eth1", "arp_ignore", "0", "1");
  assert.deepEqual(planSysctls([], [known]), {
    write: [],
    ours: [],
    restore: [known],
    problems: [],
  });
});

const restores: readonly (readonly [now: string | undefined, what: string])[] = [
  ["1", "write the original"],
  ["0", "nothing to do"],
  [undefined, "nothing to do"],
  ["2", "changed by somebody else"],
];
for (const [now, what] of restores) {
  test(`restoreOf() 0 > 1 that is ${now ?? "gone"}: ${what}`, () => {
    assert.equal(restoreOf(change("eth0", "arp_ignore", "0", "1"), now), what);
  });
}
