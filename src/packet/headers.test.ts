import assert from "node:assert/strict";
import { test } from "node:test";
import { describe } from "../bpf/layout.ts";
import {
  Ethernet,
  Icmp,
  Ipv4,
  Ipv6,
  Ipv6Extension,
  Ipv6Fragment,
  Tcp,
  Udp,
  Vlan,
} from "./headers.ts";

const layouts = [Ethernet, Vlan, Ipv4, Ipv6, Ipv6Extension, Ipv6Fragment, Tcp, Udp, Icmp];

test("headers lie as the RFCs draw them", () => {
  assert.equal(
    layouts.map((layout) => describe(layout)).join("\n"),
    `struct ethernet 14
   0   6 destination
   6   6 source
  12   2 etherType be
struct vlan 4
   0   2 control be
   2   2 etherType be
struct ipv4 20
   0   1 versionIhl
   1   1 tos
   2   2 totalLength be
   4   2 identification be
   6   2 flagsFragment be
   8   1 ttl
   9   1 protocol
  10   2 checksum be
  12   4 source be
  16   4 destination be
struct ipv6 40
   0   4 versionClassFlow be
   4   2 payloadLength be
   6   1 nextHeader
   7   1 hopLimit
   8  16 source
  24  16 destination
struct ipv6_extension 2
   0   1 nextHeader
   1   1 length
struct ipv6_fragment 8
   0   1 nextHeader
   1   1 reserved
   2   2 offsetFlags be
   4   4 identification be
struct tcp 20
   0   2 sourcePort be
   2   2 destinationPort be
   4   4 sequence be
   8   4 acknowledgement be
  12   1 dataOffset
  13   1 flags
  14   2 window be
  16   2 checksum be
  18   2 urgentPointer be
struct udp 8
   0   2 sourcePort be
   2   2 destinationPort be
   4   2 length be
   6   2 checksum be
struct icmp 8
   0   1 type
   1   1 code
   2   2 checksum be
   4   4 rest be`,
  );
});
