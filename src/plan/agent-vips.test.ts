import assert from "node:assert/strict";
import { test } from "node:test";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Route } from "../kernel/rtnetlink-routes.ts";
import { vip } from "../model/service-fixture.ts";
import { ip } from "../net/address.ts";
import { formatPrefix } from "../net/prefix.ts";
import { ownPrefixes, planVips } from "./agent-vips.ts";

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

const PREFIX = "203.0.113.0/24";
const PREFIX_6 = "2001:db8:f::/64";

const local = (ifindex: number, text: string, rest: Partial<Route> = {}): Route => ({
  destination: vip(text),
  table: 255,
  type: "local",
  scope: "host",
  protocol: 4,
  metric: 0,
  nextHops: [{ ifindex, gateway: null, weight: 1 }],
  preferredSource: null,
  mtu: null,
  ...rest,
});

const rows: readonly {
  readonly name: string;
  readonly vips: readonly string[];
  readonly known?: readonly string[];
  readonly addresses?: readonly InterfaceAddress[];
  readonly routes?: readonly Route[];
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
  {
    name: "prefixes are ours by local routes of lo",
    vips: [PREFIX, PREFIX_6],
    known: [PREFIX, "198.18.0.0/15"],
    addresses: [at(LO, "203.0.113.0", 24)],
    routes: [local(LO, PREFIX), local(ETH0, PREFIX_6), local(LO, "198.18.0.0/15")],
    add: [PREFIX_6],
    remove: ["198.18.0.0/15"],
    ours: [PREFIX, PREFIX_6],
  },
  {
    name: "a prefix that lo had before is not ours, one of another kind is none",
    vips: [PREFIX, PREFIX_6],
    routes: [local(LO, PREFIX), local(LO, PREFIX_6, { type: "unreachable" })],
    add: [PREFIX_6],
    ours: [PREFIX_6],
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

for (const { name, vips, known = [], addresses = [], routes = [], ...expected } of rows) {
  test(`planVips(): ${name}`, () => {
    const plan = planVips(vips.map(vip), known.map(vip), ownPrefixes(addresses, routes, LO));
    const { add = [], remove = [], ours = [] } = expected;
    assert.deepEqual(
      {
        add: plan.add.map(formatPrefix),
        remove: plan.remove.map(formatPrefix),
        ours: plan.ours.map(formatPrefix),
      },
      { add, remove, ours },
    );
  });
}
