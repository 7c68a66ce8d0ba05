/** Every kind of answer the kernel gives about a route, and what becomes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import type { Forwarding } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { type Path, pathTo } from "./path.ts";

const BACKEND = "198.51.100.11";
const BACKEND_6 = "2001:db8:20::11";
const ROUTER = "198.51.100.254";
const OWN = "198.51.100.1";
const MAC = mac("00:00:5e:00:53:01");

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
];

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
    result: `l2 needs it in a subnet of this host, but the route to ${BACKEND} goes by gateway ${ROUTER}; use forwarding ipip`,
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
];

for (const { name, address = BACKEND, forwarding, decision, result } of rows) {
  test(`pathTo() judges ${name}`, () => {
    assert.deepEqual(
      pathTo({ address: ip(address), forwarding }, decision, links),
      typeof result === "string" ? { kind: "none", why: result } : { kind: "path", path: result },
    );
  });
}
