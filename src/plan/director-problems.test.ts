import assert from "node:assert/strict";
import { test } from "node:test";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import { type Backend, defaultTunnels, type DirectorConfig } from "../model/model.ts";
import { service, vip } from "../model/service-fixture.ts";
import { formatIp, ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { directorProblems, directorWarnings, type HostFacts } from "./director-problems.ts";

const VIP = "203.0.113.200";
const VIP_6 = "2001:db8:f::200";

const backend = (name: string, address: string, rest: Partial<Backend> = {}): Backend => ({
  name,
  address: ip(address),
  weight: 10,
  forwarding: "l2",
  ...rest,
});
const web1 = backend("web-1", "192.0.2.11");
const far = backend("far", "198.51.100.12", { forwarding: "ipip" });
const pool = (...backends: readonly Backend[]): Partial<DirectorConfig> => ({
  pools: [{ name: "web", backends }],
});

const config: DirectorConfig = {
  instance: "main",
  interfaces: ["eth0"],
  xdpMode: "auto",
  hashKey: null,
  pools: [{ name: "web", backends: [web1] }],
  tunnels: defaultTunnels,
  outerSources: [],
  vlanTags: "auto",
  services: [service([VIP, VIP_6])],
};

const link = (rest: Partial<Link>): Link => ({
  ifindex: 2,
  name: "eth0",
  mac: mac("00:00:5e:00:53:01"),
  permanentMac: null,
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
const lo = link({ ifindex: 1, name: "lo", mac: null });
const eth1 = link({ ifindex: 3, name: "eth1" });
const vipOn = (ifindex: number): InterfaceAddress => ({
  ifindex,
  address: ip(VIP),
  prefixLength: 32,
  scope: "global",
  flags: [],
});

const by = (ifindex: number, gateway: string | null): RouteDecision => ({
  type: "unicast",
  ifindex,
  gateway: gateway === null ? null : ip(gateway),
  source: ip("192.0.2.2"),
  mtu: null,
});
const nowhere: RouteDecision = {
  type: "unreachable",
  ifindex: null,
  gateway: null,
  source: null,
  mtu: null,
};

/** By address as text; all others are behind the gateway. */
const ROUTES: Readonly<Record<string, RouteDecision>> = {
  "192.0.2.11": by(2, null),
  "192.0.2.12": nowhere,
  "192.0.2.13": nowhere,
  "192.0.2.31": by(3, null),
  "192.0.2.32": by(3, null),
  "192.0.2.2": { ...nowhere, type: "local" },
};
const host = (rest: Partial<HostFacts> = {}): HostFacts => ({
  links: [lo, link({}), eth1],
  addresses: [],
  routeTo: ({ address }) => ROUTES[formatIp(address)] ?? by(2, "192.0.2.1"),
  ownIfindexes: new Set(),
  xdpProgramOn: () => 'id 12 "xdp_foo"',
  forwarding: { ipv4: false, ipv6: false },
  ...rest,
});
const somebodys = link({ xdp: [{ mode: "generic", programId: 12 }] });

const rows: readonly {
  readonly name: string;
  readonly host?: Partial<HostFacts>;
  readonly config?: Partial<DirectorConfig>;
  readonly problems?: readonly string[];
  readonly warnings?: readonly string[];
}[] = [
  { name: "a host that fits" },
  {
    name: "no such interface",
    config: { interfaces: ["ens3", "eth0"] },
    problems: ["Cannot attach to ens3: no such interface; this host has lo, eth0, eth1"],
  },
  {
    name: "an interface that is down, and one without Ethernet",
    host: { links: [lo, link({}), { ...eth1, up: false }] },
    config: { interfaces: ["eth0", "eth1", "lo"] },
    problems: [
      'Cannot attach to eth1: it is down; set it up with "ip link set eth1 up"',
      "Cannot attach to lo: it has no Ethernet address; name the interface that packets for the VIPs arrive on",
    ],
  },
  {
    name: "somebody else's program",
    host: { links: [lo, somebodys] },
    problems: [
      'Cannot attach to eth0: it already has an XDP program (id 12 "xdp_foo"); stop what it belongs to, or remove it with "ip link set dev eth0 xdp off"',
    ],
  },
  {
    name: "a program of the run before",
    host: { links: [lo, somebodys], ownIfindexes: new Set([2]) },
  },
  {
    name: "a VIP on this host",
    host: { addresses: [vipOn(1)] },
    problems: [
      `Cannot serve VIP ${VIP} of service "web": this host has the address on lo; a director forwards to it and must not hold it, remove it with "ip addr del ${VIP}/32 dev lo"`,
    ],
  },
  {
    name: "the only backend without a path",
    config: pool(backend("a", "192.0.2.12")),
    problems: [
      'Cannot forward to backend "a" of pool "web": no route to 192.0.2.12 (unreachable); add one with "ip route add"',
    ],
  },
  {
    name: "no backend with a path",
    config: pool(backend("a", "192.0.2.12"), backend("b", "192.0.2.2"), {
      ...far,
      forwarding: "l2",
    }),
    problems: [
      'Cannot forward to backend "a" of pool "web": no route to 192.0.2.12 (unreachable); add one with "ip route add"',
      'Cannot forward to backend "b" of pool "web": 192.0.2.2 is an address of this host; a director is not its own backend',
      'Cannot forward to backend "far" of pool "web": l2 needs it in a subnet of this host, but the route to 198.51.100.12 goes by gateway 192.0.2.1; use forwarding gue or ipip',
    ],
  },
  {
    name: "some backends without a path",
    config: pool(backend("a", "192.0.2.12"), web1, backend("b", "192.0.2.13")),
    warnings: [
      'Cannot forward to backend "a" of pool "web": no route to 192.0.2.12 (unreachable); add one with "ip route add"',
      'Cannot forward to backend "b" of pool "web": no route to 192.0.2.13 (unreachable); add one with "ip route add"',
    ],
  },
  {
    name: "one pool that works and one that does not",
    config: {
      pools: [
        { name: "web", backends: [web1, backend("a", "192.0.2.12")] },
        { name: "dns", backends: [backend("b", "192.0.2.13")] },
      ],
    },
    problems: [
      'Cannot forward to backend "b" of pool "dns": no route to 192.0.2.13 (unreachable); add one with "ip route add"',
    ],
    warnings: [
      'Cannot forward to backend "a" of pool "web": no route to 192.0.2.12 (unreachable); add one with "ip route add"',
    ],
  },
  {
    name: "many backends without a path: eight of them, and how many more",
    host: { routeTo: () => nowhere },
    config: pool(
      ...Array.from({ length: 20 }, (_, at) => backend(`b${at}`, `192.0.2.${100 + at}`)),
    ),
    problems: [
      ...Array.from(
        { length: 8 },
        (_, at) =>
          `Cannot forward to backend "b${at}" of pool "web": no route to 192.0.2.${100 + at} (unreachable); add one with "ip route add"`,
      ),
      'Cannot forward to 12 more backends of pool "web"',
    ],
  },
  {
    name: "a backend behind an interface without our program",
    config: pool(web1, backend("a", "192.0.2.31")),
    warnings: [
      'Packets for backend "a" of pool "web" leave by eth1, which has no XDP program of this director: most drivers drop what is redirected there, and do not say so; add eth1 to "interfaces"',
    ],
  },
  {
    name: "two such backends: one sentence",
    config: pool(backend("a", "192.0.2.31"), backend("b", "192.0.2.32")),
    warnings: [
      'Packets for backend "a" of pool "web" and 1 more leave by eth1, which has no XDP program of this director: most drivers drop what is redirected there, and do not say so; add eth1 to "interfaces"',
    ],
  },
  {
    name: "the same with the interface named",
    config: { ...pool(backend("a", "192.0.2.31")), interfaces: ["eth0", "eth1"] },
  },
  {
    name: "a host that forwards IPv4",
    host: { forwarding: { ipv4: true, ipv6: false } },
    warnings: [
      `This host forwards packets (net.ipv4.ip_forward is on): those for VIP ${VIP} at ports without a service go back to the router, and in a loop until their TTL ends; run "ip route add unreachable ${VIP}/32" for every VIP, or "sysctl -w net.ipv4.ip_forward=0"`,
    ],
  },
  {
    name: "a host that forwards IPv6",
    host: { forwarding: { ipv4: false, ipv6: true } },
    warnings: [
      `This host forwards packets (net.ipv6.conf.all.forwarding is on): those for VIP ${VIP_6} at ports without a service go back to the router, and in a loop until their TTL ends; run "ip -6 route add unreachable ${VIP_6}/128" for every VIP, or "sysctl -w net.ipv6.conf.all.forwarding=0"`,
    ],
  },
  {
    name: "a host that forwards, but not to the VIPs",
    host: {
      forwarding: { ipv4: true, ipv6: true },
      routeTo: ({ address }) => ROUTES[formatIp(address)] ?? nowhere,
    },
  },
  {
    name: "outer headers from addresses of nobody",
    config: { outerSources: [vip("10.0.0.0/8"), vip("2001:db8:9::/96")] },
    warnings: [
      'Outer headers come from 10.0.0.0/8 and 2001:db8:9::/96 (outerSources): what routers and backends say about tunnelled packets, such as ICMP "packet too big", goes there and not to this director; leave it out unless your network spreads by outer addresses only',
    ],
  },
  {
    name: "an address of this host in a prefix of VIPs",
    host: { addresses: [vipOn(1)] },
    config: { services: [service(["203.0.113.0/24"])] },
    problems: [
      `Cannot serve VIP 203.0.113.0/24 of service "web": this host has ${VIP} on lo; a director forwards to it and must not hold it, remove it with "ip addr del ${VIP}/32 dev lo"`,
    ],
  },
  {
    name: "counters that fit, of 512 CPUs",
    host: { cpus: 512 },
    config: { services: [], ...pool(...many(65_000)) },
  },
  {
    name: "more counters than programs can address",
    host: { cpus: 512 },
    config: pool(...many(65_535)),
    problems: [
      'Cannot count for 1 services and 65535 backends on 512 possible CPUs: the counters take 1024 MiB, at most 512 MiB; use fewer backends, or boot with "nr_cpus=" and as many as there are',
    ],
  },
];

function many(count: number): readonly Backend[] {
  return Array.from({ length: count }, (_, at) => ({ ...web1, name: `b${at}` }));
}

for (const { name, host: facts, config: change, problems = [], warnings = [] } of rows) {
  test(`directorProblems() and directorWarnings(): ${name}`, () => {
    assert.deepEqual(directorProblems({ ...config, ...change }, host(facts)), problems);
    assert.deepEqual(directorWarnings({ ...config, ...change }, host(facts)), warnings);
  });
}
