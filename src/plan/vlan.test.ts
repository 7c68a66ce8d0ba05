/** Which device is below which, and how many tags programs look behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { VlanTags } from "../model/model.ts";
import { mac } from "../net/mac.ts";
import { untagged, vlanTagsFor } from "./vlan.ts";

const link = (ifindex: number, name: string, vlan: Link["vlan"] = null): Link => ({
  ifindex,
  name,
  mac: mac("00:00:5e:00:53:01"),
  permanentMac: null,
  mtu: 1500,
  up: true,
  lowerUp: true,
  operational: true,
  kind: vlan === null ? null : "vlan",
  vlan,
  master: null,
  lower: vlan?.lower ?? null,
  xdp: [],
});
const tagged = (ifindex: number, name: string, id: number, lower: number | null): Link =>
  link(ifindex, name, { protocol: 0x8100, id, lower });

const links = [
  link(2, "eth0"),
  link(3, "eth1"),
  tagged(4, "eth0.1", 1, 2),
  tagged(5, "eth0.1.2", 2, 4),
  tagged(6, "eth0.1.2.3", 3, 5),
  tagged(7, "eth1.9", 9, 3),
];

test("untagged() finds no end in devices that are below each other, and gives up", () => {
  const round = [tagged(2, "a", 1, 3), tagged(3, "b", 2, 2)];
  assert.equal(untagged(round[0] as Link, round, []), null);
});

const rows: readonly (readonly [
  configured: VlanTags,
  interfaces: readonly string[],
  tags: number,
  of?: readonly Link[],
])[] = [
  ["auto", ["eth0"], 2],
  ["auto", ["eth1"], 1],
  ["auto", ["eth0"], 0, links.slice(0, 2)],
  ["auto", ["eth0"], 1, links.slice(0, 3)],
  ["auto", ["eth0.1", "eth1.9"], 2],
  ["auto", ["eth1.9"], 0],
  [0, ["eth0"], 0],
  [2, ["eth1"], 2],
];
for (const [configured, interfaces, tags, of = links] of rows) {
  const names = interfaces.join(" and ");
  test(`vlanTagsFor() is ${tags} for ${configured} on ${names} of ${of.length} links`, () => {
    assert.equal(vlanTagsFor(configured, interfaces, of), tags);
  });
}
