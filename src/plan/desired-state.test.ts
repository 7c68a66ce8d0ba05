import assert from "node:assert/strict";
import { test } from "node:test";
import { planIndex } from "../datapath/director/index-plan.ts";
import { VIP_PROTOCOL } from "../datapath/director/service-index.ts";
import { ForwardingCode, Member, NextHop } from "../datapath/layout.ts";
import { ARENA_SIZE_MAX } from "../model/arena-size.ts";
import type { DirectorConfig } from "../model/model.ts";
import { port, service } from "../model/service-fixture.ts";
import { ip } from "../net/address.ts";
import { wholePrefix } from "../net/prefix.ts";
import { mac } from "../net/mac.ts";
import { buildTable } from "../schedule/table.ts";
import {
  arenaBytesFor,
  desiredState,
  type DesiredState,
  exactPort,
  featuresOf,
  indexShapeFor,
} from "./desired-state.ts";
import type { Path } from "./path.ts";

const config: Pick<DirectorConfig, "pools" | "services"> = {
  pools: [
    {
      name: "web",
      backends: [
        { name: "web-1", address: ip("198.51.100.11"), weight: 10, forwarding: "l2" },
        { name: "web-2", address: ip("2001:db8:20::12"), weight: 5, forwarding: "ipip" },
      ],
    },
    {
      name: "dns",
      backends: [{ name: "dns-1", address: ip("198.51.100.21"), weight: 1, forwarding: "ipip" }],
    },
  ],
  services: [
    service(["192.0.2.10", "2001:db8::10"], { ports: [port(80), port(443)] }),
    service(["192.0.2.10"], { name: "dns", protocol: "udp", ports: [port(53)], pool: "dns" }),
  ],
};
const tables = config.pools.map((pool) => buildTable(pool.backends));
const path: Path = {
  ifindex: 2,
  mac: mac("00:00:5e:00:53:01"),
  neighbour: ip("198.51.100.11"),
  source: ip("198.51.100.1"),
  mtu: 1500,
};
const plan = (): DesiredState =>
  desiredState(config, tables, (_, { name }) => (name === "web-1" ? path : null));

test("desiredState() twice is the same", () => {
  assert.deepEqual(plan(), plan());
});

test("desiredState() gives members in the order of the table, with counters of their own", () => {
  const [web, dns] = plan().pools;
  assert.ok(web !== undefined && dns !== undefined);
  assert.equal(web.table, tables[0]);
  assert.deepEqual(web.members, [
    { name: "web-1", address: ip("198.51.100.11"), forwarding: ForwardingCode.l2, path },
    {
      name: "web-2",
      address: ip("2001:db8:20::12"),
      forwarding: ForwardingCode.ipipOverIpv6,
      path: null,
    },
  ]);
  assert.equal(dns.members[0]?.forwarding, ForwardingCode.ipipOverIpv4);
  assert.deepEqual([web.memberCounters, dns.memberCounters], [2, 4]);
});

test("desiredState() gives every VIP and port of a service an entry, and one counter", () => {
  assert.deepEqual(
    plan().services.map((service) => {
      const { name, vip, protocol, pool, counter } = service;
      return [name, vip.address.family, protocol, exactPort(service), pool, counter].join(" ");
    }),
    ["web 4 6 80 0 0", "web 4 6 443 0 0", "web 6 6 80 0 0", "web 6 6 443 0 0", "dns 4 17 53 1 1"],
  );
});

test("desiredState() refuses pools without a table", () => {
  assert.throws(() => desiredState(config, tables.slice(1), () => null), /pool "dns"/);
});

const features: readonly { name: string; state: () => DesiredState; has: string }[] = [
  { name: "everything", state: plan, has: "ipv4 ipv6 l2 ipipOverIpv4 ipipOverIpv6" },
  { name: "nothing", state: () => ({ pools: [], services: [], codePoints: new Map() }), has: "" },
  {
    name: "one service and its pool",
    state: () =>
      desiredState(
        { pools: config.pools.slice(1), services: config.services.slice(1) },
        tables.slice(1),
        () => null,
      ),
    has: "ipv4 ipipOverIpv4",
  },
  {
    name: "a pool no service uses",
    state: () =>
      desiredState({ pools: config.pools.slice(0, 1), services: [] }, tables, () => null),
    has: "l2 ipipOverIpv6",
  },
];
for (const { name, state, has } of features) {
  test(`featuresOf() ${name}`, () => {
    const { ipv4, ipv6, forwardings } = featuresOf(state());
    const ways = Object.entries(ForwardingCode).filter(([, code]) => forwardings.includes(code));
    const on = [ipv4 ? "ipv4" : "", ipv6 ? "ipv6" : "", ...ways.map(([name]) => name)];
    assert.equal(on.filter((feature) => feature !== "").join(" "), has);
  });
}

/** A state of so many pools of so many members, and services that each have a VIP of their own. */
function stateOf(pools: number, members: number, services: number): DesiredState {
  const [table] = tables;
  const [member] = plan().pools[0]?.members ?? [];
  assert.ok(table !== undefined && member !== undefined);
  return {
    pools: Array.from({ length: pools }, (_, index) => ({
      name: `pool-${index}`,
      table,
      members: Array.from({ length: members }, () => member),
      memberCounters: index * members,
    })),
    services: Array.from({ length: services }, (_, index) => ({
      name: `service-${index}`,
      vip: wholePrefix({ family: 4, bytes: Uint8Array.of(192, 0, index >> 8, index & 0xff) }),
      protocol: 6,
      ports: { first: 80, last: 80 },
      hashKey: "five-tuple" as const,
      pool: 0,
      counter: index,
    })),
    codePoints: new Map(),
  };
}

for (const [pools, members, services] of [
  [0, 0, 0],
  [1, 1, 1],
  [1, 5000, 1],
  [3, 100, 100],
  [1, 2, 4097],
  [1, 2, 8192],
  [8, 1000, 10_000],
] as const) {
  test(`arenaBytesFor() ${pools} pools of ${members} members and ${services} services has room for all twice, tables once and one more`, () => {
    const state = stateOf(pools, members, services);
    const size = arenaBytesFor(state);
    assert.equal(Math.log2(size) % 1, 0, "a power of two");
    const tableBytes = (tables[0]?.size ?? 0) * 4;
    const keys = state.services.flatMap(({ vip: { address }, protocol, ports }) => [
      { vip: address, protocol: protocol ?? 0, port: ports.first },
      { vip: address, protocol: VIP_PROTOCOL, port: 0 },
    ]);
    const line = 64;
    // Every record begins on a line, and members may each have a next hop of their own.
    const lines = pools * members * (Member.size + Math.max(NextHop.size, line));
    const needed =
      (pools + Math.min(pools, 1)) * tableBytes +
      2 * (lines + planIndex(keys, indexShapeFor(state), []).size + pools * line) +
      3 * line;
    assert.ok(size >= needed, `${size} bytes, ${needed} needed`);
  });
}

test("arenaBytesFor() takes what config/ lets through: 8 VIPs with every port, and no more", () => {
  const ports = Array.from({ length: 65_535 }, (_, index) => port(index + 1));
  const bytesFor = (vips: number): number =>
    arenaBytesFor(
      desiredState(
        {
          pools: config.pools.slice(1),
          services: [
            service(
              Array.from({ length: vips }, (_, index) => `192.0.2.${index}`),
              { ports, pool: "dns" },
            ),
          ],
        },
        tables.slice(1),
        () => null,
      ),
    );
  assert.equal(bytesFor(8), ARENA_SIZE_MAX);
  assert.ok(bytesFor(9) > ARENA_SIZE_MAX);
});
