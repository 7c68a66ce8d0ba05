import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bare, eth, padTo } from "./build.ts";
import { decode, problemsOf } from "./decode.ts";
import { formatPacket } from "./format.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_TIME_EXCEEDED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PARAMPROB,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
  IP_MF,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "./headers.ts";

const CLIENT = "192.0.2.1";
const VIP = "192.0.2.2";
const CLIENT_6 = "2001:db8::1";
const VIP_6 = "2001:db8::2";

const quoted4 = bare().ipv4(VIP, CLIENT).tcp({}, "0123456789").subarray(0, 28);
const quoted6 = bare().ipv6(VIP_6, CLIENT_6).udp({}, "0123456789").subarray(0, 50);

const rows: readonly { name: string; packet: Uint8Array; problems: readonly string[] }[] = [
  { name: "a right TCP packet", packet: eth().ipv4(CLIENT, VIP).tcp({}, "data"), problems: [] },
  { name: "an unknown EtherType", packet: eth().raw(0x88cc, "lldp"), problems: [] },
  { name: "an unknown protocol", packet: eth().ipv4(CLIENT, VIP).raw(132, "sctp"), problems: [] },
  {
    name: "half an Ethernet header",
    packet: new Uint8Array(7),
    problems: ["Ethernet header is cut short: 7 of 14 bytes"],
  },
  {
    name: "half a VLAN tag",
    packet: eth().raw(0x8100, "x"),
    problems: ["VLAN header is cut short: 1 of 4 bytes"],
  },
  {
    name: "a wrong IPv4 header checksum",
    packet: eth().ipv4(CLIENT, VIP, { checksum: 0x1234 }).tcp(),
    problems: ["IPv4 header checksum is 0x1234, should be 0xb6cc"],
  },
  {
    name: "an IPv4 packet that says it is IPv5",
    packet: eth().ipv4(CLIENT, VIP, { versionIhl: 0x55 }).tcp(),
    problems: ["IPv4 version and header length are 0x55"],
  },
  {
    name: "an IPv4 header that says it has 16 bytes",
    packet: eth().ipv4(CLIENT, VIP, { versionIhl: 0x44 }).tcp(),
    problems: ["IPv4 version and header length are 0x44"],
  },
  {
    name: "IPv4 options beyond the frame",
    packet: eth().ipv4(CLIENT, VIP, { versionIhl: 0x4f }).raw(6),
    problems: ["IPv4 header is cut short: 20 of 60 bytes"],
  },
  {
    name: "an IPv4 length beyond the frame",
    packet: eth().ipv4(CLIENT, VIP, { totalLength: 41 }).tcp(),
    problems: ["IPv4 total length makes 41 bytes, in a packet of 40 bytes"],
  },
  {
    name: "an IPv4 length within the header",
    packet: eth().ipv4(CLIENT, VIP, { totalLength: 19 }).raw(99, "x"),
    problems: ["IPv4 total length makes 19 bytes, in 20 bytes of header"],
  },
  {
    name: "an IPv6 packet that says it is IPv4",
    packet: eth().ipv6(CLIENT_6, VIP_6, { versionClassFlow: 0x40000000 }).tcp(),
    problems: ["IPv6 version is 4"],
  },
  {
    name: "an IPv6 length beyond the frame",
    packet: eth().ipv6(CLIENT_6, VIP_6, { payloadLength: 21 }).tcp(),
    problems: ["IPv6 payload length makes 61 bytes, in a packet of 60 bytes"],
  },
  {
    name: "an IPv6 extension beyond the packet",
    packet: eth()
      .ipv6(CLIENT_6, VIP_6)
      .raw(60, Uint8Array.of(6, 1, 0, 0, 0, 0, 0, 0)),
    problems: ["IPv6 extension header is cut short: 8 of 16 bytes"],
  },
  {
    name: "a wrong TCP checksum",
    packet: eth().ipv4(CLIENT, VIP).tcp({ flags: "S", checksum: 1 }),
    problems: ["TCP checksum is 0x0001, should be 0x8f4e"],
  },
  {
    name: "a wrong TCP checksum inside IPv6",
    packet: eth().ipv6(VIP_6, CLIENT_6).ipv4(CLIENT, VIP).tcp({ flags: "S", checksum: 1 }),
    problems: ["TCP checksum is 0x0001, should be 0x8f4e"],
  },
  {
    name: "a TCP header that says it has 16 bytes",
    packet: eth().ipv4(CLIENT, VIP).tcp({ dataOffset: 0x40 }),
    problems: ["TCP header length is 16 bytes, the least is 20"],
  },
  {
    name: "TCP options beyond the packet",
    packet: eth().ipv4(CLIENT, VIP).tcp({ dataOffset: 0x60 }),
    problems: ["TCP header is cut short: 20 of 24 bytes"],
  },
  {
    name: "a wrong UDP checksum",
    packet: eth().ipv4(CLIENT, VIP).udp({ sourcePort: 1, destinationPort: 2, checksum: 9 }, "ab"),
    problems: ["UDP checksum is 0x0009, should be 0x1a71"],
  },
  {
    name: "UDP without checksum",
    packet: eth().ipv4(CLIENT, VIP).udp({ checksum: 0 }),
    problems: [],
  },
  {
    name: "UDP over IPv6 without checksum",
    packet: eth().ipv6(CLIENT_6, VIP_6).udp({ checksum: 0 }),
    problems: ["UDP over IPv6 has no checksum"],
  },
  {
    name: "a UDP length beyond the packet",
    packet: eth().ipv4(CLIENT, VIP).udp({ length: 9 }),
    problems: ["UDP length is 9, the IP packet carries 8 bytes"],
  },
  {
    name: "a wrong ICMP checksum",
    packet: eth().ipv4(CLIENT, VIP).icmp({ identifier: 2, sequence: 3, checksum: 1 }),
    problems: ["ICMP checksum is 0x0001, should be 0xf7fa"],
  },
  {
    name: "half an ICMPv6 header",
    packet: eth().ipv6(CLIENT_6, VIP_6).raw(58, "abc"),
    problems: ["ICMPv6 header is cut short: 3 of 8 bytes"],
  },
  {
    name: "a first fragment, whose checksum covers more",
    packet: eth().ipv4(CLIENT, VIP, { flagsFragment: IP_MF }).tcp({ checksum: 1 }),
    problems: [],
  },
  {
    name: "a later fragment, which has no header",
    packet: eth().ipv4(CLIENT, VIP, { flagsFragment: 1 }).raw(IPPROTO_TCP, "x"),
    problems: [],
  },
  {
    name: "a later fragment of IPv6",
    packet: eth().ipv6(CLIENT_6, VIP_6).fragment({ offsetBytes: 8 }).raw(IPPROTO_UDP, "x"),
    problems: [],
  },
  {
    name: "padding after the IP packet",
    packet: padTo(eth().ipv4(CLIENT, VIP).udp(), 60),
    problems: [],
  },
  {
    name: "an ICMP error with its quote cut short",
    packet: eth()
      .ipv4(CLIENT, VIP)
      .icmp({ type: ICMP_DEST_UNREACH, code: ICMP_FRAG_NEEDED, rest: 1400 }, quoted4),
    problems: [],
  },
  {
    name: "an ICMPv6 error with its quote cut short",
    packet: eth().ipv6(CLIENT_6, VIP_6).icmpv6({ type: ICMPV6_PKT_TOOBIG, rest: 1400 }, quoted6),
    problems: [],
  },
];

for (const { name, packet, problems } of rows) {
  test(`problemsOf() ${name}`, () => assert.deepEqual(problemsOf(packet), problems));
}

const quoting: readonly { version: 4 | 6; type: number; quotes: boolean }[] = [
  { version: 4, type: ICMP_DEST_UNREACH, quotes: true },
  { version: 4, type: ICMP_TIME_EXCEEDED, quotes: true },
  { version: 4, type: ICMP_PARAMETERPROB, quotes: true },
  { version: 4, type: ICMP_ECHO, quotes: false },
  { version: 4, type: ICMP_ECHOREPLY, quotes: false },
  { version: 6, type: ICMPV6_DEST_UNREACH, quotes: true },
  { version: 6, type: ICMPV6_PKT_TOOBIG, quotes: true },
  { version: 6, type: ICMPV6_TIME_EXCEED, quotes: true },
  { version: 6, type: ICMPV6_PARAMPROB, quotes: true },
  { version: 6, type: ICMPV6_ECHO_REQUEST, quotes: false },
  { version: 6, type: ICMPV6_ECHO_REPLY, quotes: false },
];

for (const { version, type, quotes } of quoting) {
  test(`decode() of ICMP over IPv${version}, type ${type}, ${quotes ? "reads" : "leaves"} a packet inside`, () => {
    const packet =
      version === 4
        ? bare().ipv4(CLIENT, VIP).icmp({ type }, quoted4)
        : bare().ipv6(CLIENT_6, VIP_6).icmpv6({ type }, quoted6);
    const { layers } = decode(packet, "ip");
    const inside = layers.slice(2).map((layer) => layer.kind);
    const quoted = version === 4 ? ["ipv4", "payload"] : ["ipv6", "udp", "payload"];
    assert.deepEqual(inside, quotes ? quoted : ["payload"]);
  });
}

test("decode() and formatPacket() take any bytes", () => {
  const header = fc.constantFrom(
    eth().ipv4(CLIENT, VIP).tcp({}, "data"),
    eth().vlan(5).ipv6(CLIENT_6, VIP_6).extension(0).fragment().udp({}, "data"),
    eth().ipv4(CLIENT, VIP).ipv6(CLIENT_6, VIP_6).tcp(),
    eth().ipv4(CLIENT, VIP).icmp({ type: ICMP_DEST_UNREACH }, quoted4),
  );
  const changes = fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 8 });
  fc.assert(
    fc.property(header, changes, fc.nat(120), (packet, flips, length) => {
      const changed = packet.slice(0, length);
      for (const [at, value] of flips) if (at < changed.length) changed[at] = value;
      formatPacket(changed);
      formatPacket(changed, "ip");
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (noise) => void formatPacket(noise, "ip")),
  );
});

test("decode() accounts for every byte", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.uint8Array({ maxLength: 9 }),
      (data, after) => {
        const packet = Uint8Array.of(...eth().ipv4(CLIENT, VIP).udp({}, data), ...after);
        const { layers, problems } = decode(packet);
        const sizes = layers.map((layer) => ("bytes" in layer ? layer.bytes.length : 0));
        assert.equal(
          sizes.reduce((sum, size) => sum + size, 0),
          data.length + after.length,
        );
        assert.deepEqual(problems, []);
      },
    ),
  );
});

test("problemsOf() notices any flipped bit of a TCP packet's addresses, ports or payload", () => {
  const packet = eth().ipv4(CLIENT, VIP).tcp({}, "payload");
  const covered = packet.length - 26;
  fc.assert(
    fc.property(fc.nat(covered - 1), fc.nat(7), (byte, bit) => {
      const changed = packet.slice();
      const at = 26 + byte;
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      assert.notDeepEqual(problemsOf(changed), []);
    }),
  );
});
