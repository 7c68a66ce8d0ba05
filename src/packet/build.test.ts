/** Bytes of whole packets, one row a layer and its neighbours; what is not given has to come out right. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "../net/address.ts";
import { bare, eth, mssOption, padTo } from "./build.ts";
import { problemsOf } from "./decode.ts";
import { formatPacket } from "./format.ts";
import { ETH_P_8021AD, ETH_P_ARP, IP_MF, IPPROTO_HOPOPTS } from "./headers.ts";

const CLIENT = "192.0.2.1";
const VIP = "192.0.2.2";
const DIRECTOR = "198.51.100.1";
const BACKEND_1 = "198.51.100.2";
const CLIENT_6 = "2001:db8::1";
const VIP_6 = "2001:db8::2";
const DIRECTOR_6 = "2001:db8:1::1";
const BACKEND_6 = "2001:db8:1::2";

const ETH = "00005e005302 00005e005301";
const IPV6_ADDRESSES = "20010db8000000000000000000000001 20010db8000000000000000000000002";

const exact: readonly { name: string; packet: Uint8Array; bytes: string }[] = [
  {
    name: "ethernet with a protocol of its own",
    packet: eth().raw(ETH_P_ARP, Uint8Array.of(1, 2, 3)),
    bytes: `${ETH} 0806 010203`,
  },
  {
    name: "MACs and an EtherType given",
    packet: eth("00:00:5e:00:53:0a", "00:00:5e:00:53:0b", { etherType: 0x1234 }).raw(ETH_P_ARP),
    bytes: "00005e00530b 00005e00530a 1234",
  },
  {
    name: "two VLAN tags",
    packet: eth().vlan(100, { tagType: ETH_P_8021AD }).vlan(7, { priority: 5 }).raw(ETH_P_ARP),
    bytes: `${ETH} 88a8 0064 8100 a007 0806`,
  },
  {
    // 4500+001d+4000+4006+c000+0201+c000+0202 = 24926: ~4928 is b6d7.
    name: "IPv4",
    packet: bare().ipv4(CLIENT, VIP).raw(6, "ninebytes"),
    bytes: "4500001d 00004000 4006b6d7 c0000201 c0000202 6e696e656279746573",
  },
  {
    name: "IPv4 with every field given",
    packet: bare()
      .ipv4(ip(CLIENT), ip(VIP), {
        versionIhl: 0x4f,
        tos: 1,
        totalLength: 2,
        identification: 3,
        flagsFragment: IP_MF,
        ttl: 5,
        protocol: 6,
        checksum: 7,
        options: Uint8Array.of(1, 1, 1, 0),
      })
      .raw(99),
    bytes: "4f010002 00032000 05060007 c0000201 c0000202 01010100",
  },
  {
    name: "IPv6",
    packet: bare().ipv6(CLIENT_6, VIP_6).raw(99, "ab"),
    bytes: `60000000 0002 63 40 ${IPV6_ADDRESSES} 6162`,
  },
  {
    name: "IPv6 with extensions and a fragment header",
    packet: bare()
      .ipv6(CLIENT_6, VIP_6, { hopLimit: 9 })
      .extension(IPPROTO_HOPOPTS)
      .fragment({ offsetBytes: 8, more: true, identification: 0xabcd })
      .raw(17, "ab"),
    bytes: `60000000 0012 00 09 ${IPV6_ADDRESSES} 2c00010400000000 110000090000abcd 6162`,
  },
  {
    // Pseudo header c000+0201+c000+0202+0006+0014, then 9c40+0050+5002+ffff = 370ae: ~70b1 is 8f4e.
    name: "TCP",
    packet: bare().ipv4(CLIENT, VIP, { checksum: 0 }).tcp({ flags: "S" }),
    bytes:
      "45000028 00004000 40060000 c0000201 c0000202 9c400050 00000000 00000000 5002ffff 8f4e0000",
  },
  {
    // Pseudo header c000+0201+c000+0202+0011+000a, then 0001+0002+000a+6162 = 1e58d: ~e58e is 1a71.
    name: "UDP",
    packet: bare()
      .ipv4(CLIENT, VIP, { checksum: 0 })
      .udp({ sourcePort: 1, destinationPort: 2 }, "ab"),
    bytes: "4500001e 00004000 40110000 c0000201 c0000202 0001 0002 000a 1a71 6162",
  },
  {
    // The sum of the row above without 6162 is 1842b: 7bd3 more makes ffff, a checksum of zero.
    name: "UDP whose checksum comes out as zero",
    packet: bare()
      .ipv4(CLIENT, VIP, { checksum: 0 })
      .udp({ sourcePort: 1, destinationPort: 2 }, Uint8Array.of(0x7b, 0xd3)),
    bytes: "4500001e 00004000 40110000 c0000201 c0000202 0001 0002 000a ffff 7bd3",
  },
  {
    name: "an ICMP echo",
    packet: bare().ipv4(CLIENT, VIP, { checksum: 0 }).icmp({ identifier: 2, sequence: 3 }),
    bytes: "4500001c 00004000 40010000 c0000201 c0000202 0800 f7fa 0002 0003",
  },
  {
    // Pseudo header 2001+0db8+0001+2001+0db8+0002+0008+003a = 5bb7, then 8000+0001+0001: ~dbb9 is 2446.
    name: "an ICMPv6 echo",
    packet: bare().ipv6(CLIENT_6, VIP_6).icmpv6(),
    bytes: `60000000 0008 3a 40 ${IPV6_ADDRESSES} 8000 2446 0001 0001`,
  },
];

for (const { name, packet, bytes } of exact) {
  test(`build: bytes of ${name}`, () => {
    assert.equal(Buffer.from(packet).toString("hex"), bytes.replaceAll(" ", ""));
  });
}

const whole: readonly { name: string; packet: Uint8Array; layers: string }[] = [
  {
    name: "TCP with options and payload",
    packet: eth()
      .ipv4(CLIENT, VIP)
      .tcp({ flags: "S", options: mssOption(1460) }, "odd"),
    layers: "ethernet ipv4 tcp payload",
  },
  {
    name: "TCP behind IPv4 options",
    packet: eth()
      .ipv4(CLIENT, VIP, { options: Uint8Array.of(1, 1, 1, 0) })
      .tcp(),
    layers: "ethernet ipv4 tcp",
  },
  {
    name: "TCP behind IPv6 extensions",
    packet: eth().ipv6(CLIENT_6, VIP_6).extension(0).extension(60, new Uint8Array(14)).tcp(),
    layers: "ethernet ipv6 extension extension tcp",
  },
  {
    name: "an atomic fragment",
    packet: eth().ipv6(CLIENT_6, VIP_6).fragment().udp({}, "payload"),
    layers: "ethernet ipv6 fragment udp payload",
  },
  {
    name: "ICMPv6",
    packet: eth().vlan(1).ipv6(CLIENT_6, VIP_6).icmpv6({}, "ping"),
    layers: "ethernet vlan ipv6 icmpv6 payload",
  },
  {
    name: "IPv4 in IPv4",
    packet: eth().ipv4(DIRECTOR, BACKEND_1).ipv4(CLIENT, VIP).tcp(),
    layers: "ethernet ipv4 ipv4 tcp",
  },
  {
    name: "IPv4 in IPv6",
    packet: eth().ipv6(DIRECTOR_6, BACKEND_6).ipv4(CLIENT, VIP).udp({}, "x"),
    layers: "ethernet ipv6 ipv4 udp payload",
  },
  {
    name: "IPv6 in IPv4",
    packet: eth().ipv4(DIRECTOR, BACKEND_1).ipv6(CLIENT_6, VIP_6).tcp(),
    layers: "ethernet ipv4 ipv6 tcp",
  },
  {
    name: "IPv6 in IPv6",
    packet: eth().ipv6(DIRECTOR_6, BACKEND_6).ipv6(CLIENT_6, VIP_6).tcp(),
    layers: "ethernet ipv6 ipv6 tcp",
  },
  {
    name: "a packet padded to the least frame",
    packet: padTo(eth().ipv4(CLIENT, VIP).tcp(), 60),
    layers: "ethernet ipv4 tcp trailer",
  },
];

for (const { name, packet, layers } of whole) {
  test(`build: lengths and checksums of ${name} are right`, () => {
    assert.deepEqual(problemsOf(packet), []);
    const lines = formatPacket(packet).split("\n");
    const kinds = lines
      .filter((line) => /^ *[a-z]/.test(line))
      .map((line) => line.trim().split(" ")[0]);
    assert.equal(kinds.join(" "), layers);
  });
}

test("padTo() leaves a longer packet as it is", () => {
  assert.equal(padTo(eth().raw(ETH_P_ARP, new Uint8Array(60)), 60).length, 74);
});

test("tcp() refuses a flag that is none", () => {
  assert.throws(() => bare().ipv4(CLIENT, VIP).tcp({ flags: "SX" }), {
    message: 'Cannot build TCP flags "SX": "X" is none of FSRPAUEC',
  });
});

test("ipv4() refuses an address of IPv6", () => {
  assert.throws(() => bare().ipv4(CLIENT, VIP_6), {
    message: 'Cannot build an IPv4 header: "2001:db8::2" is of IPv6',
  });
});
