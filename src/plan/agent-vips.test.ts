import assert from "node:assert/strict";
import { test } from "node:test";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import { formatIp, ip } from "../net/address.ts";
import { planVips } from "./agent-vips.ts";

const LO = 1;
const ETH0 = 2;
const VIP = "203.0.113.200";
const VIP_2 = "203.0.113.201";
const VIP_6 = "2001:db8:f::200";

const at = (ifindex: number, text: string, prefixLength = 32): InterfaceAddress => ({
  ifindex,
  address: ip(text),
  prefixLength,
  scope: "global",
  flags: [],
});

const rows: readonly {
  readonly name: string;
  readonly vips: readonly string[];
  readonly known?: readonly string[];
  readonly addresses?: readonly InterfaceAddress[];
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly ours?: readonly string[];
}[] = [
  { name: "a new VIP is added", vips: [VIP, VIP_6], add: [VIP, VIP_6], ours: [VIP, VIP_6] },
  { name: "a VIP on lo before is not ours", vips: [VIP], addresses: [at(LO, VIP)] },
  { name: "nor with another prefix", vips: [VIP], addresses: [at(LO, VIP, 24)] },
  {
    name: "a VIP of ours stays ours",
    vips: [VIP],
    known: [VIP],
    addresses: [at(LO, VIP)],
    ours: [VIP],
  },
  {
    name: "a VIP of ours that is gone comes back",
    vips: [VIP],
    known: [VIP],
    add: [VIP],
    ours: [VIP],
  },
  {
    name: "a VIP of ours that is configured no more goes",
    vips: [VIP],
    known: [VIP, VIP_2],
    addresses: [at(LO, VIP), at(LO, VIP_2)],
    remove: [VIP_2],
    ours: [VIP],
  },
  { name: "one that is gone already needs nothing", vips: [], known: [VIP] },
  {
    name: "on another interface is not on lo",
    vips: [VIP],
    addresses: [at(ETH0, VIP)],
    add: [VIP],
    ours: [VIP],
  },
];

for (const { name, vips, known = [], addresses = [], ...expected } of rows) {
  test(`planVips(): ${name}`, () => {
    const plan = planVips(vips.map(ip), known.map(ip), addresses, LO);
    const { add = [], remove = [], ours = [] } = expected;
    assert.deepEqual(
      {
        add: plan.add.map(formatIp),
        remove: plan.remove.map(formatIp),
        ours: plan.ours.map(formatIp),
      },
      { add, remove, ours },
    );
  });
}
