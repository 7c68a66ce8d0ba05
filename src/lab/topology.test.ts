import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPrefix } from "../kernel/rtnetlink.ts";
import { formatIp, ip } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import type { NodeSpec, Topology } from "./topology.ts";
import { addressOf, interfaceOf, labTopology } from "./topology.ts";

function describe({ nodes, cables }: Topology): string {
  const lines = Object.values<NodeSpec>(nodes).flatMap(({ name, role, interfaces, routes }) => [
    `${name} (${role})`,
    ...interfaces.map(
      (i) =>
        `  ${[i.ifindex, i.name, formatMac(i.mac), ...i.addresses.map(formatPrefix)].join(" ")}`,
    ),
    ...routes.map((route) => `  ${formatPrefix(route.destination)} via ${formatIp(route.gateway)}`),
  ]);
  const plugs = cables.map((ends) => ends.map((end) => `${end.node}:${end.interface}`).join(" - "));
  return [...lines, ...plugs].join("\n");
}

test("labTopology() is the network of the picture", () => {
  assert.equal(
    describe(labTopology()),
    `client (host)
  10 eth0 00:00:5e:00:53:0a 198.51.100.10/24 2001:db8:1::10/64
  0.0.0.0/0 via 198.51.100.1
  ::/0 via 2001:db8:1::1
router (router)
  11 eth0 00:00:5e:00:53:0b 198.51.100.1/24 2001:db8:1::1/64
  12 eth1 00:00:5e:00:53:0c 192.0.2.1/24 2001:db8:2::1/64
  20 eth2 00:00:5e:00:53:14 203.0.113.1/25 2001:db8:3::1/64
  203.0.113.200/32 via 192.0.2.2
  2001:db8:f::200/128 via 2001:db8:2::2
switch (switch)
  16 router 00:00:5e:00:53:10
  17 director 00:00:5e:00:53:11
  18 backend-1 00:00:5e:00:53:12
  19 backend-2 00:00:5e:00:53:13
director (host)
  13 eth0 00:00:5e:00:53:0d 192.0.2.2/24 2001:db8:2::2/64
  0.0.0.0/0 via 192.0.2.1
  ::/0 via 2001:db8:2::1
backend-1 (host)
  14 eth0 00:00:5e:00:53:0e 192.0.2.11/24 2001:db8:2::11/64
  0.0.0.0/0 via 192.0.2.1
  ::/0 via 2001:db8:2::1
backend-2 (host)
  15 eth0 00:00:5e:00:53:0f 192.0.2.12/24 2001:db8:2::12/64
  0.0.0.0/0 via 192.0.2.1
  ::/0 via 2001:db8:2::1
backend-3 (host)
  21 eth0 00:00:5e:00:53:15 203.0.113.13/25 2001:db8:3::13/64
  0.0.0.0/0 via 203.0.113.1
  ::/0 via 2001:db8:3::1
client:eth0 - router:eth0
router:eth1 - switch:router
director:eth0 - switch:director
backend-1:eth0 - switch:backend-1
backend-2:eth0 - switch:backend-2
router:eth2 - backend-3:eth0`,
  );
});

test("labTopology() routes each VIP it is given via the director", () => {
  const { nodes } = labTopology({ vips: [ip("203.0.113.201")] });
  assert.deepEqual(
    nodes.router.routes.map(({ destination, gateway }) => [
      formatPrefix(destination),
      formatIp(gateway),
    ]),
    [["203.0.113.201/32", "192.0.2.2"]],
  );
});

test("labTopology() refuses an MTU at which native XDP or IPv6 would fail", () => {
  for (const mtuBytes of [1279, 3499, Number.NaN]) {
    assert.throws(() => labTopology({ mtuBytes }), RangeError);
  }
  assert.equal(interfaceOf(labTopology({ mtuBytes: 3498 }).nodes.client, "eth0").mtuBytes, 3498);
});

test("addressOf() gives a node's address by family", () => {
  const { nodes } = labTopology();
  assert.equal(formatIp(addressOf(nodes["backend-3"], 4)), "203.0.113.13");
  assert.equal(formatIp(addressOf(nodes["backend-3"], 6)), "2001:db8:3::13");
  assert.throws(() => addressOf(nodes.switch, 4), /no IPv4 address/);
  assert.throws(() => interfaceOf(nodes.client, "eth1"), /no interface "eth1"/);
});
