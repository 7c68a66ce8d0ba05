import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import {
  encodeAttributes,
  encodePayload,
  NetlinkDecodeError,
  nestedAttribute,
  nestedOf,
  textAttribute,
  u32Attribute,
  decodeAttributes,
} from "./netlink-message.ts";
import { decodeAddress, encodeAddress } from "./rtnetlink-addresses.ts";
import { decodeEvent } from "./rtnetlink-events.ts";
import { decodeLink, encodeLinkChange, encodeVeth } from "./rtnetlink-links.ts";
import {
  decodeNeighbour,
  encodeKeeping,
  encodeNeighbour,
  encodeResolution,
} from "./rtnetlink-neighbours.ts";
import type { NewRoute } from "./rtnetlink-routes.ts";
import {
  decisionOfError,
  decodeRoute,
  decodeRouteDecision,
  encodeRoute,
  encodeRouteQuery,
} from "./rtnetlink-routes.ts";

const ROUTER = ip("192.0.2.1");
const ROUTER_6 = ip("2001:db8:2::1");
const DIRECTOR = ip("192.0.2.2");
const NETWORK = { address: ip("203.0.113.0"), length: 24 };
const MAC = mac("00:00:5e:00:53:01");
const defaults = { table: 254, protocol: 4, metric: 0, preferredSource: null, mtu: null };

const routes: readonly {
  readonly name: string;
  readonly route: NewRoute;
  readonly decoded: object;
}[] = [
  {
    name: "through a gateway",
    route: { destination: NETWORK, nextHops: [{ gateway: ROUTER, ifindex: 3 }] },
    decoded: {
      type: "unicast",
      scope: "global",
      nextHops: [{ ifindex: 3, gateway: ROUTER, weight: 1 }],
    },
  },
  {
    name: "on the link, with source, metric and MTU",
    route: {
      destination: NETWORK,
      nextHops: [{ ifindex: 3 }],
      preferredSource: DIRECTOR,
      metric: 20,
      mtu: 1400,
    },
    decoded: {
      type: "unicast",
      scope: "link",
      nextHops: [{ ifindex: 3, gateway: null, weight: 1 }],
      preferredSource: DIRECTOR,
      metric: 20,
      mtu: 1400,
    },
  },
  {
    name: "of IPv4 through an IPv6 neighbour",
    route: { destination: NETWORK, nextHops: [{ gateway: ROUTER_6, ifindex: 3 }] },
    decoded: {
      type: "unicast",
      scope: "global",
      nextHops: [{ ifindex: 3, gateway: ROUTER_6, weight: 1 }],
    },
  },
  {
    name: "over several next hops with weights",
    route: {
      destination: { address: ip("2001:db8:3::"), length: 64 },
      nextHops: [
        { gateway: ROUTER_6, ifindex: 3, weight: 1 },
        { ifindex: 4, weight: 256 },
      ],
    },
    decoded: {
      type: "unicast",
      scope: "global",
      nextHops: [
        { ifindex: 3, gateway: ROUTER_6, weight: 1 },
        { ifindex: 4, gateway: null, weight: 256 },
      ],
    },
  },
  {
    name: "to nowhere, in a table beyond 255",
    route: { destination: NETWORK, type: "unreachable", table: 1000 },
    decoded: { type: "unreachable", scope: "global", nextHops: [], table: 1000 },
  },
];

for (const { name, route, decoded } of routes) {
  test(`decodeRoute() reads what encodeRoute() wrote of a route ${name}`, () => {
    const expected = { destination: route.destination, ...defaults, ...decoded };
    assert.deepEqual(decodeRoute(encodeRoute(route, "add")), expected);
  });
}

test("encodeRoute() to delete leaves open what was not given", () => {
  const route = decodeRoute(encodeRoute({ destination: NETWORK }, "delete"));
  assert.deepEqual([route.type, route.scope, route.protocol], ["unspecified", "nowhere", 0]);
});

test("encodeRouteQuery() asks for whole addresses", () => {
  const query = encodeRouteQuery(ROUTER_6, { source: ip("2001:db8:2::2"), ifindex: 7, mark: 9 });
  assert.deepEqual([query[0], query[1], query[2]], [10, 128, 128]);
  assert.equal(decodeRouteDecision(query).ifindex, 7);
});

test("decisionOfError() gives IPv4 errors the types that IPv6 reports", () => {
  const codes = ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "EPERM"];
  const types = codes.map((code) => decisionOfError(code)?.type);
  assert.deepEqual(types, ["unreachable", "unreachable", "prohibit", "blackhole", undefined]);
});

test("decodeAddress() reads what encodeAddress() wrote, with flags beyond 8 bits", () => {
  const address = {
    ifindex: 1,
    address: ip("2001:db8::10"),
    prefixLength: 128,
    scope: "global",
    flags: ["nodad", "noprefixroute"],
  } as const;
  assert.deepEqual(decodeAddress(encodeAddress(address)), address);
});

test("encodeAddress() gives loopback addresses host scope", () => {
  const scopes = ["127.0.0.1", "::1", "192.0.2.10"].map(
    (text) =>
      decodeAddress(encodeAddress({ ifindex: 1, address: ip(text), prefixLength: 32 })).scope,
  );
  assert.deepEqual(scopes, ["host", "host", "global"]);
});

test("decodeNeighbour() reads what encodeNeighbour() wrote", () => {
  const entry = { ifindex: 3, address: DIRECTOR, mac: MAC, state: "permanent" } as const;
  assert.deepEqual(decodeNeighbour(encodeNeighbour(entry)), {
    ...entry,
    router: false,
    managed: false,
    protocol: 0,
  });
});

test("encodeKeeping() marks an entry that the kernel shall keep, and for whom", () => {
  const entries = [
    encodeResolution(3, DIRECTOR),
    encodeKeeping(3, DIRECTOR, 0),
    encodeKeeping(3, DIRECTOR, 202),
  ].map((payload) => decodeNeighbour(payload));
  assert.deepEqual(
    entries.map(({ managed, protocol }) => [managed, protocol]),
    [
      [false, 0],
      [true, 0],
      [true, 202],
    ],
  );
});

test("decodeLink() reads name, MAC, MTU, kind, VLAN, master and each XDP attachment", () => {
  const header = new Uint8Array(16);
  new DataView(header.buffer).setUint32(4, 5, true);
  new DataView(header.buffer).setUint32(8, 0x10001, true);
  const payload = encodePayload(header, [
    textAttribute(3, "eth0.10"),
    { type: 1, value: MAC },
    u32Attribute(4, 9000),
    u32Attribute(10, 2),
    { type: 16, value: Uint8Array.of(2) },
    u32Attribute(5, 4),
    nestedAttribute(18, [
      textAttribute(1, "vlan"),
      // The id in the machine's byte order, the protocol in the network's.
      nestedAttribute(2, [
        { type: 1, value: Uint8Array.of(10, 1) },
        { type: 5, value: Uint8Array.of(0x88, 0xa8) },
      ]),
    ]),
    nestedAttribute(43, [
      { type: 2, value: Uint8Array.of(4) },
      u32Attribute(5, 11),
      u32Attribute(6, 12),
    ]),
  ]);
  assert.deepEqual(decodeLink(payload), {
    ifindex: 5,
    name: "eth0.10",
    mac: MAC,
    permanentMac: null,
    mtu: 9000,
    up: true,
    lowerUp: true,
    operational: false,
    kind: "vlan",
    vlan: { protocol: 0x88a8, id: 266, lower: 4 },
    master: 2,
    lower: 4,
    xdp: [
      { mode: "native", programId: 11 },
      { mode: "generic", programId: 12 },
    ],
  });
});

function flagsAndMask(change: object): number[] {
  const view = new DataView(encodeLinkChange(3, change).buffer);
  return [view.getUint32(8, true), view.getUint32(12, true)];
}

test("encodeLinkChange() touches IFF_UP only when asked to", () => {
  assert.deepEqual([{ up: true }, { up: false }, { mtu: 1500 }].map(flagsAndMask), [
    [1, 1],
    [0, 1],
    [0, 0],
  ]);
});

test("encodeVeth() puts each end into its own namespace", () => {
  const bytes = encodeVeth(
    { name: "a0", netns: { fd: 8 } },
    { name: "b0", netns: { pid: 99 }, mtu: 1400 },
  );
  const outer = decodeAttributes(bytes, 16);
  const info = nestedOf(outer, 18);
  assert.ok(info);
  const peer = nestedOf(info, 2)?.get(1);
  assert.ok(peer);
  assert.deepEqual(outer.get(28), Uint8Array.of(8, 0, 0, 0));
  assert.equal(
    Buffer.from(peer.subarray(16)).toString("hex"),
    Buffer.from(
      encodeAttributes([textAttribute(3, "b0"), u32Attribute(4, 1400), u32Attribute(19, 99)]),
    ).toString("hex"),
  );
});

test("decoders of random bytes return or throw NetlinkDecodeError", () => {
  const types = [16, 17, 20, 21, 24, 25, 28, 29];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 96 }), fc.constantFrom(...types), (payload, type) => {
      try {
        decodeEvent({ type, flags: 0, sequence: 0, payload });
        decodeRouteDecision(payload);
      } catch (error) {
        assert.ok(error instanceof NetlinkDecodeError, String(error));
      }
    }),
    { numRuns: 5000 },
  );
});

test("decoders of real messages with one byte changed return or throw NetlinkDecodeError", () => {
  const messages: readonly [number, Uint8Array][] = [
    [24, encodeRoute(routes[3]?.route ?? { destination: NETWORK }, "add")],
    [24, encodeRoute(routes[2]?.route ?? { destination: NETWORK }, "add")],
    [20, encodeAddress({ ifindex: 1, address: ROUTER_6, prefixLength: 64 })],
    [28, encodeNeighbour({ ifindex: 1, address: ROUTER, mac: MAC })],
    [16, encodeVeth({ name: "a0" }, { name: "b0" })],
  ];
  for (const [type, original] of messages) {
    for (let at = 0; at < original.length; at++) {
      for (const byte of [0, 1, 3, 5, 0x7f, 0xff]) {
        const payload = original.slice();
        payload[at] = byte;
        try {
          decodeEvent({ type, flags: 0, sequence: 0, payload });
        } catch (error) {
          assert.ok(error instanceof NetlinkDecodeError, `byte ${at} = ${byte}: ${String(error)}`);
        }
      }
    }
  }
});
