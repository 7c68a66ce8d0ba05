/** Which of a host's addresses errors come from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import { formatIp, ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { ownAddresses } from "./own-address.ts";

const link = (ifindex: number, vlan: Link["vlan"] = null): Link => ({
  ifindex,
  name: `eth${ifindex}`,
  mac: mac("00:00:5e:00:53:01"),
  permanentMac: null,
  mtu: 1500,
  up: true,
  lowerUp: true,
  operational: true,
  kind: null,
  vlan,
  master: null,
  lower: null,
  xdp: [],
});
const links = [link(1), link(2), link(3), link(4, { protocol: 0x8100, id: 7, lower: 2 })];
const on = (
  ifindex: number,
  address: string,
  rest: Partial<InterfaceAddress> = {},
): InterfaceAddress => ({
  ifindex,
  address: ip(address),
  prefixLength: 24,
  scope: "global",
  flags: [],
  ...rest,
});

const rows: readonly {
  readonly name: string;
  readonly addresses: readonly InterfaceAddress[];
  readonly own: readonly [ipv4: string | null, ipv6: string | null];
}[] = [
  { name: "none at all", addresses: [], own: [null, null] },
  {
    name: "its own before others'",
    addresses: [on(3, "198.51.100.3"), on(2, "198.51.100.2"), on(3, "2001:db8::3")],
    own: ["198.51.100.2", "2001:db8::3"],
  },
  {
    name: "its VLAN device's before others'",
    addresses: [on(3, "198.51.100.3"), on(4, "198.51.100.4")],
    own: ["198.51.100.4", null],
  },
  {
    name: "no loopback, no link-local and none that is not settled",
    addresses: [
      on(1, "127.0.0.1", { scope: "host" }),
      on(2, "fe80::2", { scope: "link" }),
      on(2, "2001:db8::2", { flags: ["tentative"] }),
      on(2, "2001:db8::4", { flags: ["dadfailed", "permanent"] }),
    ],
    own: [null, null],
  },
];
for (const { name, addresses, own } of rows) {
  test(`ownAddresses() of a link: ${name}`, () => {
    const { ipv4, ipv6 } = ownAddresses(links[1] as Link, links, addresses);
    assert.deepEqual(
      [ipv4, ipv6].map((address) => address && formatIp(address)),
      own,
    );
  });
}
