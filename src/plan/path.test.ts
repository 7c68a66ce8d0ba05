/** Every kind of answer the kernel gives about a route, and what becomes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Link, VlanInfo } from "../kernel/rtnetlink-links.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import type { Forwarding, VlanTags } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { type Path, pathTo } from "./path.ts";

const BACKEND = "198.51.100.11";
const BACKEND_6 = "2001:db8:20::11";
const ROUTER = "198.51.100.254";
const OWN = "198.51.100.1";
const MAC = mac("00:00:5e:00:53:01");

const vlan = (protocol: number, id: number, lower: number | null): VlanInfo => ({
  protocol,
  id,
  lower,
});

const link = (rest: Partial<Link> = {}): Link => ({
  ifindex: 2,
  name: "eth0",
  mac: MAC,
  permanentMac: MAC,
  mtu: 1500,
  up: true,
  lowerUp: true,
  operational: true,
  kind: null,
  vlan: null,
  master: null,
  lower: null,
  xdp: [],
  ...rest,
});
const links: readonly Link[] = [
  link({ ifindex: 1, name: "lo", mac: null, mtu: 65_536 }),
  link(),
  link({ ifindex: 3, name: "eth1", mac: mac("00:00:5e:00:53:03"), mtu: 9000 }),
  link({ ifindex: 4, name: "eth2", up: false }),
  link({ ifindex: 5, name: "tun0", mac: null }),
  link({ ifindex: 6, name: "eth0.100", kind: "vlan", vlan: vlan(0x8100, 100, 2), mtu: 1400 }),
  link({ ifindex: 7, name: "eth0.100.7", kind: "vlan", vlan: vlan(0x88a8, 7, 6) }),
  link({ ifindex: 8, name: "deep", kind: "vlan", vlan: vlan(0x8100, 8, 7) }),
  link({ ifindex: 9, name: "moved", kind: "vlan", vlan: vlan(0x8100, 9, null) }),
  link({ ifindex: 10, name: "eth1.5", kind: "vlan", vlan: vlan(0x8100, 5, 3) }),
];

const interfaces = ["eth0", "eth1.5"];

const onLink: RouteDecision = {
  type: "unicast",
  ifindex: 2,
  gateway: null,
  source: ip(OWN),
  mtu: null,
};
const byRouter: RouteDecision = { ...onLink, gateway: ip(ROUTER) };

const direct: Path = { ifindex: 2, mac: MAC, neighbour: ip(BACKEND), source: ip(OWN), mtu: 1500 };

const rows: readonly {
  readonly name: string;
  readonly address?: string;
  readonly forwarding: Forwarding;
  readonly decision: RouteDecision;
  readonly vlanTags?: VlanTags;
  /** The path, or the reason why there is none. */
  readonly result: Path | string;
}[] = [
  { name: "l2 on the link", forwarding: "l2", decision: onLink, result: direct },
  { name: "ipip on the link", forwarding: "ipip", decision: onLink, result: direct },
  {
    name: "ipip by a gateway",
    forwarding: "ipip",
    decision: byRouter,
    result: { ...direct, neighbour: ip(ROUTER) },
  },
  {
    name: "ipip to an IPv4 backend by an IPv6 gateway (RFC 5549)",
    forwarding: "ipip",
    decision: { ...onLink, gateway: ip("fe80::1") },
    result: { ...direct, neighbour: ip("fe80::1") },
  },
  {
    name: "l2 to an IPv6 backend",
    address: BACKEND_6,
    forwarding: "l2",
    decision: { ...onLink, source: ip("2001:db8:20::1") },
    result: { ...direct, neighbour: ip(BACKEND_6), source: ip("2001:db8:20::1") },
  },
  {
    name: "by another interface: its MAC and its MTU",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 3 },
    result: { ...direct, ifindex: 3, mac: mac("00:00:5e:00:53:03"), mtu: 9000 },
  },
  {
    name: "a route with an MTU of its own",
    forwarding: "ipip",
    decision: { ...byRouter, mtu: 1400 },
    result: { ...direct, neighbour: ip(ROUTER), mtu: 1400 },
  },
  {
    name: "a route with an MTU larger than the link's",
    forwarding: "ipip",
    decision: { ...onLink, mtu: 9000 },
    result: direct,
  },
  {
    name: "l2 by a gateway",
    forwarding: "l2",
    decision: byRouter,
    result: `l2 needs it in a subnet of this host, but the route to ${BACKEND} goes by gateway ${ROUTER}; use forwarding gue or ipip`,
  },
  {
    name: "an address of this host",
    forwarding: "l2",
    decision: { ...onLink, type: "local", ifindex: 1 },
    result: `${BACKEND} is an address of this host; a director is not its own backend`,
  },
  ...(["unreachable", "blackhole", "prohibit", "broadcast", "multicast"] as const).map((type) => ({
    name: `a route of type ${type}`,
    forwarding: "ipip" as const,
    decision: { ...onLink, type, ifindex: null },
    result: `no route to ${BACKEND} (${type}); add one with "ip route add"`,
  })),
  {
    name: "a route without an interface",
    forwarding: "ipip",
    decision: { ...onLink, ifindex: null },
    result: `no route to ${BACKEND} (unicast); add one with "ip route add"`,
  },
  {
    name: "an interface that is down",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 4 },
    result: `the route to ${BACKEND} leaves by eth2, which is down`,
  },
  {
    name: "an interface without Ethernet addresses",
    forwarding: "ipip",
    decision: { ...onLink, ifindex: 5 },
    result: `the route to ${BACKEND} leaves by tun0, which has no Ethernet address`,
  },
  {
    name: "an interface that is gone",
    forwarding: "ipip",
    decision: { ...onLink, ifindex: 99 },
    result: `the route to ${BACKEND} leaves by interface 99, which has no Ethernet address`,
  },
  {
    name: "an interface without an address of the family",
    address: BACKEND_6,
    forwarding: "ipip",
    decision: { ...onLink, source: null },
    result: `eth0 has no address to reach ${BACKEND_6} from`,
  },
  {
    name: "a VLAN device: its tag, its MAC, its neighbours, the device below",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 6 },
    result: {
      ...direct,
      neighbourIfindex: 6,
      tags: [{ protocol: 0x8100, id: 100 }],
      mtu: 1400,
    },
  },
  {
    name: "a VLAN device on a VLAN device: two tags, the lower device's outermost",
    forwarding: "gue",
    decision: { ...byRouter, ifindex: 7 },
    result: {
      ...direct,
      neighbour: ip(ROUTER),
      neighbourIfindex: 7,
      tags: [
        { protocol: 0x8100, id: 100 },
        { protocol: 0x88a8, id: 7 },
      ],
    },
  },
  {
    name: "three VLAN devices on each other",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 8 },
    result: "packets leave by deep with 3 VLAN tags; at most 2 are written",
  },
  {
    name: "a VLAN device where the file says no tags",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 6 },
    vlanTags: 0,
    result: "packets leave by eth0.100 with 1 VLAN tag, and vlanTags is 0; set it to auto",
  },
  {
    name: "a VLAN device that came from another namespace",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 9 },
    result: "moved is a VLAN device whose device below is not in this network namespace",
  },
  {
    name: "a VLAN device that has a program itself: no tags there",
    forwarding: "l2",
    decision: { ...onLink, ifindex: 10 },
    result: { ...direct, ifindex: 10 },
  },
  {
    name: "dscp by a router",
    forwarding: "dscp",
    decision: byRouter,
    result: { ...direct, neighbour: ip(ROUTER) },
  },
];

for (const row of rows) {
  const { name, address = BACKEND, forwarding, decision, vlanTags = "auto", result } = row;
  test(`pathTo() judges ${name}`, () => {
    assert.deepEqual(
      pathTo({ address: ip(address), forwarding }, decision, links, { interfaces, vlanTags }),
      typeof result === "string" ? { kind: "none", why: result } : { kind: "path", path: result },
    );
  });
}
