import assert from "node:assert/strict";
import { test } from "node:test";
import { bare, eth, mssOption } from "./build.ts";
import { assertPacket, formatPacket } from "./format.ts";

const CLIENT = "192.0.2.1";
const VIP = "192.0.2.2";
const DIRECTOR_6 = "2001:db8::1";
const BACKEND_6 = "2001:db8::2";

const rows: readonly { name: string; packet: Uint8Array; text: string }[] = [
  {
    name: "a tunnelled SYN",
    packet: eth()
      .vlan(7, { priority: 5 })
      .ipv6(DIRECTOR_6, BACKEND_6, { versionClassFlow: 0x60f12345 })
      .ipv4(CLIENT, VIP, { tos: 0xb8, identification: 9 })
      .tcp({ flags: "SE", sequence: 1, options: mssOption(1460) }, "hi"),
    text: `ethernet 00:00:5e:00:53:01 > 00:00:5e:00:53:02 type 0x8100
  vlan 7 priority 5 type 0x86dd
    ipv6 2001:db8::1 > 2001:db8::2 next 4 hops 64 payload 46 class 0x0f flow 0x12345
      ipv4 192.0.2.1 > 192.0.2.2 protocol 6 ttl 64 total 46 tos 0xb8 id 9 DF checksum 0xb605
        tcp 40000 > 80 [SE] sequence 1 acknowledgement 0 window 65535 checksum 0x0ee6 options 020405b4
          payload of 2 bytes`,
  },
  {
    name: "a fragment",
    packet: eth()
      .ipv6(DIRECTOR_6, BACKEND_6)
      .extension(0)
      .fragment({ offsetBytes: 16, more: true })
      .raw(17, "x"),
    text: `ethernet 00:00:5e:00:53:01 > 00:00:5e:00:53:02 type 0x86dd
  ipv6 2001:db8::1 > 2001:db8::2 next 0 hops 64 payload 17 class 0x00 flow 0x00000
    extension 0 of 8 bytes
      fragment next 17 offset 16 more id 1
        payload of 1 bytes`,
  },
  {
    name: "an IPv4 fragment with a wrong checksum",
    packet: eth().ipv4(CLIENT, VIP, { flagsFragment: 0x2002, checksum: 1 }).raw(17, "x"),
    text: `ethernet 00:00:5e:00:53:01 > 00:00:5e:00:53:02 type 0x0800
  ipv4 192.0.2.1 > 192.0.2.2 protocol 17 ttl 64 total 21 tos 0x00 id 0 MF offset 16 checksum 0x0001
    payload of 1 bytes
! IPv4 header checksum is 0x0001, should be 0xd6d2`,
  },
  {
    name: "an echo",
    packet: eth().ipv4(CLIENT, VIP).icmp({ identifier: 2, sequence: 3 }),
    text: `ethernet 00:00:5e:00:53:01 > 00:00:5e:00:53:02 type 0x0800
  ipv4 192.0.2.1 > 192.0.2.2 protocol 1 ttl 64 total 28 tos 0x00 id 0 DF checksum 0xb6dd
    icmp type 8 code 0 rest 0x00020003 checksum 0xf7fa`,
  },
  {
    name: "a datagram",
    packet: eth().ipv4(CLIENT, VIP).udp({ sourcePort: 1, destinationPort: 2 }, "ab"),
    text: `ethernet 00:00:5e:00:53:01 > 00:00:5e:00:53:02 type 0x0800
  ipv4 192.0.2.1 > 192.0.2.2 protocol 17 ttl 64 total 30 tos 0x00 id 0 DF checksum 0xb6cb
    udp 1 > 2 length 10 checksum 0x1a71
      payload of 2 bytes`,
  },
];

for (const { name, packet, text } of rows) {
  test(`formatPacket() of ${name}`, () => {
    const layers = formatPacket(packet).replace(/\n[0-9a-f]{4} {2}[\s\S]*$/, "");
    assert.equal(layers, text);
  });
}

test("formatPacket() ends with all bytes in hex", () => {
  const lines = formatPacket(bare().raw(0, "0123456789abcdefXYZ"), "ip").split("\n").slice(-2);
  assert.deepEqual(lines, [
    "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66",
    "0010  58 59 5a",
  ]);
});

test("assertPacket() is silent about equal packets", () => {
  assertPacket(eth().ipv4(CLIENT, VIP).tcp(), eth().ipv4(CLIENT, VIP).tcp());
});

test("assertPacket() shows both packets and where they differ", () => {
  const actual = bare().ipv4(CLIENT, VIP, { ttl: 63, checksum: 0xb7d8 }).raw(99);
  const expected = bare().ipv4(CLIENT, VIP, { ttl: 64, checksum: 0xb6d8 }).raw(99, "x");
  assert.throws(() => assertPacket(actual, expected, "ip"), {
    code: "ERR_ASSERTION",
    message: `Packets differ from byte 3 (0x0003)
actual, 20 bytes:
ipv4 192.0.2.1 > 192.0.2.2 protocol 99 ttl 63 total 20 tos 0x00 id 0 DF checksum 0xb7d8
! IPv4 header checksum is 0xb7d8, should be 0xb783
0000  45 00 00 14 00 00 40 00 3f 63 b7 d8 c0 00 02 01
0010  c0 00 02 02
expected, 21 bytes:
ipv4 192.0.2.1 > 192.0.2.2 protocol 99 ttl 64 total 21 tos 0x00 id 0 DF checksum 0xb6d8
  payload of 1 bytes
! IPv4 header checksum is 0xb6d8, should be 0xb682
0000  45 00 00 15 00 00 40 00 40 63 b6 d8 c0 00 02 01
0010  c0 00 02 02 78`,
  });
});

test("assertPacket() notices bytes at the end", () => {
  const packet = eth().ipv4(CLIENT, VIP).tcp();
  assert.throws(() => assertPacket(packet, packet.subarray(0, -1)), /differ from byte 53/);
  assert.throws(() => assertPacket(packet.subarray(0, -1), packet), /differ from byte 53/);
});
