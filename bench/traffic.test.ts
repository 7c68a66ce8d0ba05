import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "../src/net/address.ts";
import { formatPacket } from "../src/packet/format.ts";
import { firstFrame, frameOf, type Traffic } from "./traffic.ts";

const to4: Traffic = {
  family: 4,
  kind: "established",
  flows: 1_000_000,
  destination: ip("192.0.2.10"),
  destinations: 1,
};
const to6: Traffic = { ...to4, family: 6, destination: ip("2001:db8::10") };

test("frameOf() makes flow 0 the first frame", () => {
  for (const traffic of [to4, to6]) assert.deepEqual(frameOf(traffic, 0), firstFrame(traffic));
});

for (const { name, traffic, flow, shows } of [
  { name: "a client each", traffic: to4, flow: 513, shows: /198\.18\.2\.1.*1024/s },
  { name: "the next port", traffic: to4, flow: 2 ** 17 + 1, shows: /198\.18\.0\.1.*1025/s },
  { name: "an IPv6 client each", traffic: to6, flow: 0x1_0002, shows: /2001:2::1:2.*1024/s },
  { name: "a SYN", traffic: { ...to4, kind: "syn" as const }, flow: 0, shows: /\bS\b/ },
  { name: "a tag", traffic: { ...to4, tags: 1 }, flow: 0, shows: /vlan 200/ },
  { name: "two tags", traffic: { ...to6, tags: 2 }, flow: 513, shows: /vlan 100.*vlan 200.*:201/s },
  {
    name: "options",
    traffic: { ...to4, hasOptions: true },
    flow: 513,
    shows: /198\.18\.2\.1.*1024/s,
  },
  {
    name: "extension headers",
    traffic: { ...to6, hasOptions: true },
    flow: 2 ** 17 + 1,
    shows: /2001:2::1 .*1025/s,
  },
  { name: "UDP", traffic: { ...to4, kind: "udp" as const }, flow: 0, shows: /udp/i },
]) {
  test(`frameOf() gives flows ${name}`, () => {
    assert.match(formatPacket(frameOf(traffic, flow)), shows);
  });
}

test("frameOf() spreads flows over the destinations", () => {
  const traffic = { ...to4, destinations: 10 };
  const counts = new Map<number, number>();
  for (let flow = 0; flow < 10_000; flow += 1) {
    const last = frameOf(traffic, flow)[33] ?? 0;
    counts.set(last, (counts.get(last) ?? 0) + 1);
  }
  assert.deepEqual(
    [...counts.keys()].toSorted((a, b) => a - b),
    [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  );
  for (const count of counts.values()) assert.ok(Math.abs(count - 1000) < 20, `${count} of 10000`);
});
