/** The agent's program on single packets: verdict, what is handed to the host, and the one reason counted. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import { eth, type LinkLayer, padTo } from "../../packet/build.ts";
import { problemsOf } from "../../packet/decode.ts";
import { assertPacket } from "../../packet/format.ts";
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  IP_DF,
  IP_MF,
  IPPROTO_DSTOPTS,
  IPPROTO_GRE,
  IPPROTO_HOPOPTS,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
} from "../../packet/headers.ts";
import type { AgentReason } from "../reasons.ts";
import { AgentUnderTest, DIRECTOR, DIRECTOR_6, VIP, VIP_6 } from "./agent-fixture.ts";

const CLIENT = "192.0.2.99";
const CLIENT_6 = "2001:db8:c::99";
const BACKEND = "203.0.113.12";
const BACKEND_6 = "2001:db8:21::12";
const STRANGER = "198.51.100.200";
const STRANGER_6 = "2001:db8:20::200";
const FOREIGN = "192.0.2.11";
const FOREIGN_6 = "2001:db8::11";

const agent = skip === false ? new AgentUnderTest() : undefined;
after(() => agent?.[Symbol.dispose]());

const frame = eth("00:00:5e:00:53:fe", "00:00:5e:00:53:12");
type Network = ReturnType<LinkLayer["ipv4"]>;
const over4 = (given = {}, source = DIRECTOR): Network => frame.ipv4(source, BACKEND, given);
const over6 = (given = {}, source = DIRECTOR_6): Network => frame.ipv6(source, BACKEND_6, given);
const port = { destinationPort: 80, flags: "S" };
const in4 = (outer: LinkLayer | Network, payload = "", given = {}): Uint8Array =>
  outer.ipv4(CLIENT, VIP, given).tcp(port, payload);
const in6 = (outer: LinkLayer | Network, payload = "", given = {}): Uint8Array =>
  outer.ipv6(CLIENT_6, VIP_6, given).tcp(port, payload);

const decapsulated: readonly { name: string; input: Uint8Array; output: Uint8Array }[] = [
  { name: "IPv4 in IPv4", input: in4(over4(), "data"), output: in4(frame, "data") },
  { name: "IPv6 in IPv4", input: in6(over4(), "data"), output: in6(frame, "data") },
  { name: "IPv4 in IPv6", input: in4(over6(), "data"), output: in4(frame, "data") },
  { name: "IPv6 in IPv6", input: in6(over6(), "data"), output: in6(frame, "data") },
  {
    name: "UDP of no payload",
    input: over4().ipv4(CLIENT, VIP).udp(),
    output: frame.ipv4(CLIENT, VIP).udp(),
  },
  {
    name: "ICMP, which a director may send for a VIP",
    input: over6().ipv6(CLIENT_6, VIP_6).icmpv6(),
    output: frame.ipv6(CLIENT_6, VIP_6).icmpv6(),
  },
  {
    name: "an inner packet of a header alone",
    input: over4().ipv4(CLIENT, VIP).raw(59),
    output: frame.ipv4(CLIENT, VIP).raw(59),
  },
  {
    name: "an inner IPv6 packet of a header alone",
    input: over6().ipv6(CLIENT_6, VIP_6).raw(59),
    output: frame.ipv6(CLIENT_6, VIP_6).raw(59),
  },
  {
    name: "an inner fragment",
    input: over4().ipv4(CLIENT, VIP, { flagsFragment: IP_MF }).tcp(port, "x".repeat(64)),
    output: frame.ipv4(CLIENT, VIP, { flagsFragment: IP_MF }).tcp(port, "x".repeat(64)),
  },
  {
    name: "inner options",
    input: in4(over4(), "", { options: Uint8Array.of(1, 1, 1, 0) }),
    output: in4(frame, "", { options: Uint8Array.of(1, 1, 1, 0) }),
  },
  {
    name: "inner extension headers",
    input: over4().ipv6(CLIENT_6, VIP_6).extension(IPPROTO_HOPOPTS).tcp(port),
    output: frame.ipv6(CLIENT_6, VIP_6).extension(IPPROTO_HOPOPTS).tcp(port),
  },
  {
    name: "the inner TOS, TTL and checksum stay as they are",
    input: in4(over4({ tos: 0xfe, ttl: 3 }), "", { tos: 1, ttl: 1, checksum: 0x1234 }),
    output: in4(frame, "", { tos: 1, ttl: 1, checksum: 0x1234 }),
  },
  {
    name: "an outer packet that may be fragmented, but is not",
    input: in4(over4({ flagsFragment: 0 })),
    output: in4(frame),
  },
  {
    name: "padding stays behind the inner packet",
    input: padTo(over4().ipv4(CLIENT, VIP).udp(), 64),
    output: padTo(frame.ipv4(CLIENT, VIP).udp(), 44),
  },
  {
    name: "an outer packet with more than the inner one in it",
    input: in4(over4(), "data", { totalLength: 42 }),
    output: in4(frame, "data", { totalLength: 42 }),
  },
  {
    name: "a packet as large as frames are",
    input: in6(over6(), "x".repeat(2800)),
    output: in6(frame, "x".repeat(2800)),
  },
];

for (const { name, input, output } of decapsulated) {
  test(`the agent decapsulates: ${name}`, { skip }, () => {
    const { verdict, packet, counted } = agent!.run(input);
    assert.deepEqual([verdict, ...counted], [XDP_PASS, `decapsulated 1/${input.length}`]);
    assertPacket(packet, output);
    const before = problemsOf(input);
    assert.deepEqual(
      problemsOf(packet).filter((problem) => !before.includes(problem)),
      [],
    );
  });
}

/** Flags and version, then the protocol, then what is never looked at. */
const gre = (flags: number, type: number): Uint8Array =>
  Uint8Array.of(flags >> 8, flags & 0xff, type >> 8, type & 0xff, ...Array(60).fill(0x45));
const gue = (form: number, protocol: number, flags: number): Uint8Array =>
  Uint8Array.of(form, protocol, flags >> 8, flags & 0xff, ...Array(60).fill(0x45));

/** Grouped by the reason they are counted under; what is passed must be untouched. */
const left: Readonly<Partial<Record<AgentReason, Readonly<Record<string, Uint8Array>>>>> = {
  not_encapsulated: {
    "a packet for a VIP as it is": in4(frame),
    "a packet for a VIP as it is, IPv6": in6(frame),
    ARP: frame.raw(ETH_P_ARP, "x".repeat(28)),
    "an empty frame of no protocol": frame.raw(0),
    "IP in IP behind a VLAN tag": in4(frame.vlan(5).ipv4(DIRECTOR, BACKEND)),
    "GRE with a key": over4({}, STRANGER).raw(IPPROTO_GRE, "x".repeat(64)),
    "GUE with flags": over4({}, STRANGER).udp({ destinationPort: 6080 }, "x".repeat(64)),
    "UDP to another port": over4().udp({ destinationPort: 53 }, "x".repeat(64)),
    ICMP: over4().icmp(),
    "outer options": in4(over4({ options: Uint8Array.of(1, 1, 1, 0) })),
    "an outer first fragment": in4(over4({ flagsFragment: IP_MF }), "x".repeat(64)),
    "an outer later fragment": over4({ flagsFragment: 8 }).raw(IPPROTO_IPIP, "x".repeat(64)),
    "an outer header length of less than 20": in4(over4({ versionIhl: 0x44 })),
    "an outer version 6 in an IPv4 frame": in4(over4({ versionIhl: 0x65 })),
    "an outer version 4 in an IPv6 frame": in4(over6({ versionClassFlow: 0x45000000 })),
    "outer extension headers": in4(over6().extension(IPPROTO_DSTOPTS)),
    "an outer fragment of IPv6": in4(over6().fragment({ more: true }), "x".repeat(64)),
  },
  not_a_vip: {
    "a tunnel of somebody else": over4({}, STRANGER).ipv4(CLIENT, FOREIGN).tcp(port),
    "a tunnel of somebody else, 6 in 4": over4({}, STRANGER).ipv6(CLIENT_6, FOREIGN_6).tcp(port),
    "a tunnel of somebody else, 4 in 6": over6({}, STRANGER_6).ipv4(CLIENT, FOREIGN).tcp(port),
    "a tunnel of somebody else, 6 in 6": over6({}, STRANGER_6).ipv6(CLIENT_6, FOREIGN_6).udp(),
    "a VIP as outer destination": frame.ipv4(STRANGER, VIP).ipv4(CLIENT, FOREIGN).tcp(port),
    "a VIP as inner source": over4({}, STRANGER).ipv4(VIP, FOREIGN).tcp(port),
  },
  stranger: {
    "IPv4 in IPv4": in4(over4({}, STRANGER)),
    "IPv6 in IPv4": in6(over4({}, STRANGER)),
    "IPv4 in IPv6": in4(over6({}, STRANGER_6)),
    "IPv6 in IPv6": in6(over6({}, STRANGER_6)),
    "a director's address as inner source": over4({}, STRANGER).ipv4(DIRECTOR, VIP).tcp(port),
    "a VIP as outer source": in4(over4({}, VIP)),
    "an address that ends like a director's": in4(over6({}, "2001:db8:20::c633:6401")),
    "a stranger's malformed packet": in4(over4({}, STRANGER), "", { totalLength: 5000 }),
  },
  foreign_vip: {
    "IPv4 in IPv4": over4().ipv4(CLIENT, FOREIGN).tcp(port),
    "IPv6 in IPv4": over4().ipv6(CLIENT_6, FOREIGN_6).tcp(port),
    "IPv4 in IPv6": over6().ipv4(CLIENT, FOREIGN).tcp(port),
    "IPv6 in IPv6": over6().ipv6(CLIENT_6, FOREIGN_6).tcp(port),
    "the backend itself": over4().ipv4(CLIENT, BACKEND).tcp(port),
    "an IPv6 address that ends like a VIP": over4().ipv6(CLIENT_6, "2001:db8::c000:20a").tcp(port),
  },
  malformed: {
    "an outer length beyond the frame": in4(over4({ totalLength: 61 })),
    "an outer length beyond the frame, IPv6": in4(over6({ payloadLength: 41 })),
    "an outer length of 0": in4(over4({ totalLength: 0 })),
    "an outer length of 0, IPv6": in6(over6({ payloadLength: 0 })),
    "an inner length beyond the outer": in4(over4(), "", { totalLength: 41 }),
    "an inner length beyond the outer, 4 in 6": in4(over6(), "", { totalLength: 41 }),
    "an inner length beyond the outer, 6 in 4": in6(over4(), "", { payloadLength: 21 }),
    "an inner length beyond the outer, 6 in 6": in6(over6(), "", { payloadLength: 65_535 }),
    "an inner length beyond the outer, within the padding": padTo(
      in4(over4(), "", { totalLength: 50 }),
      200,
    ),
    "an inner length of 19": in4(over4(), "", { totalLength: 19 }),
    "an inner version 6 said to be IPv4": in4(over4(), "", { versionIhl: 0x65 }),
    "an inner version 4 said to be IPv6": in6(over4(), "", { versionClassFlow: 0x45000000 }),
    "an inner version 5 said to be IPv6": in6(over6(), "", { versionClassFlow: 0x50000000 }),
    "a director's GRE with a checksum": over4().raw(IPPROTO_GRE, gre(0x8000, ETH_P_IP)),
    "a director's GRE of version 1": over4().raw(IPPROTO_GRE, gre(1, ETH_P_IP)),
    "a director's GRE of Ethernet": over4().raw(IPPROTO_GRE, gre(0, 0x6558)),
    "a director's GUE of version 1": over4().udp({ destinationPort: 6080 }, gue(0x40, 4, 0)),
    "a director's GUE of control": over6().udp({ destinationPort: 6080 }, gue(0x20, 4, 0)),
    "a director's GUE with extensions": over6().udp({ destinationPort: 6080 }, gue(1, 4, 0)),
    "a director's GUE with flags": over4().udp({ destinationPort: 6080 }, gue(0, 4, 1)),
    "a director's GUE of TCP": over4().udp({ destinationPort: 6080 }, gue(0, 6, 0)),
  },
  nested: {
    "IPv4 in IPv4 in IPv4": over4().ipv4(CLIENT, VIP).ipv4(CLIENT, VIP).tcp(port),
    "IPv6 in IPv4 in IPv4": over4().ipv4(CLIENT, VIP).ipv6(CLIENT_6, VIP_6).tcp(port),
    "IPv4 in IPv6 in IPv6": over6().ipv6(CLIENT_6, VIP_6).ipv4(CLIENT, VIP).tcp(port),
    "IPv6 in IPv6 in IPv4": over4().ipv6(CLIENT_6, VIP_6).ipv6(CLIENT_6, VIP_6).tcp(port),
  },
  too_short: {
    "an IPv4 frame without a packet": frame.raw(ETH_P_IP),
    "an IPv6 frame without a packet": frame.raw(ETH_P_IPV6),
    "an outer header and nothing": over4().raw(IPPROTO_IPIP),
    "an outer header and nothing, IPv6": over6().raw(IPPROTO_IPV6),
    "an inner IPv6 header cut": over4().raw(IPPROTO_IPV6, "x".repeat(39)),
  },
};

const PASSED: readonly AgentReason[] = ["not_encapsulated", "not_a_vip", "too_short"];

function assertLeft(input: Uint8Array, reason: AgentReason): void {
  const { verdict, packet, counted } = agent!.run(input);
  const isPassed = PASSED.includes(reason);
  assert.deepEqual(
    [verdict, ...counted],
    [isPassed ? XDP_PASS : XDP_DROP, `${reason} 1/${input.length}`],
  );
  if (isPassed) assertPacket(packet, input);
}

for (const [reason, rows] of Object.entries(left)) {
  for (const [name, input] of Object.entries(rows)) {
    test(`the agent counts ${reason}: ${name}`, { skip }, () => {
      assertLeft(input, reason as AgentReason);
    });
  }
}

/** RFC 6040 section 4.2, figure 4: the outer header across, the inner one down, in the same order. */
const codepoints = { "Not-ECT": 0, "ECT(0)": 2, "ECT(1)": 1, CE: 3 } as const;
type Codepoint = keyof typeof codepoints;
const ecnTable: Readonly<Record<Codepoint, readonly (Codepoint | "drop")[]>> = {
  "Not-ECT": ["Not-ECT", "Not-ECT", "Not-ECT", "drop"],
  "ECT(0)": ["ECT(0)", "ECT(0)", "ECT(1)", "CE"],
  "ECT(1)": ["ECT(1)", "ECT(1)", "ECT(1)", "CE"],
  CE: ["CE", "CE", "CE", "CE"],
};
const DSCP = 0xb8;
/** By family: a header whose DSCP is `DSCP`; the flow label must not change either. */
const marked = {
  4: (ecn: number) => ({ tos: DSCP | ecn }),
  6: (ecn: number) => ({ versionClassFlow: (0x600abcde | ((DSCP | ecn) << 20)) >>> 0 }),
};
const encapsulations = [
  { name: "IPv4 in IPv4", outer: 4, inner: 4 },
  { name: "IPv6 in IPv4", outer: 4, inner: 6 },
  { name: "IPv4 in IPv6", outer: 6, inner: 4 },
  { name: "IPv6 in IPv6", outer: 6, inner: 6 },
] as const;

for (const { name, outer, inner } of encapsulations) {
  const around = (ecn: number): Network => (outer === 4 ? over4 : over6)(marked[outer](ecn));
  const within = (link: LinkLayer | Network, ecn: number): Uint8Array =>
    inner === 4 ? in4(link, "data", marked[4](ecn)) : in6(link, "data", marked[6](ecn));
  test(`the agent hands on what routers said of congestion: ${name}`, { skip }, () => {
    for (const innerName of Object.keys(ecnTable) as Codepoint[]) {
      for (const [column, outerName] of (Object.keys(codepoints) as Codepoint[]).entries()) {
        const input = within(around(codepoints[outerName]), codepoints[innerName]);
        const becomes = ecnTable[innerName][column]!;
        if (becomes === "drop") {
          assertLeft(input, "ecn_not_capable");
          continue;
        }
        const { verdict, packet, counted } = agent!.run(input);
        const row = `${innerName} inside ${outerName}`;
        assert.deepEqual([verdict, ...counted], [XDP_PASS, `decapsulated 1/${input.length}`], row);
        assertPacket(packet, within(frame, codepoints[becomes]));
        assert.deepEqual(problemsOf(packet), [], row);
      }
    }
  });
}

test("an inner IPv4 checksum stays right whatever it was, and wrong if it was wrong", {
  skip,
}, () => {
  // The identification takes the checksum through every value where sums carry or end in 0.
  for (const identification of [...Array(64).keys()].flatMap((at) => [
    at,
    0x72c0 + at,
    0xffff - at,
  ])) {
    const [before, after] = [2, 3].map((tos) => ({ tos, identification }));
    const { packet } = agent!.run(in4(over4({ tos: 3 }), "", before));
    assertPacket(packet, in4(frame, "", after));
  }
  const { packet } = agent!.run(in4(over4({ tos: 3 }), "", { tos: 2, checksum: 0 }));
  assertPacket(packet, in4(frame, "", { tos: 3, checksum: 0xfffe }));
});

/** Every cut of a packet: `outer` and `inner` are where those headers end. */
const cuts: readonly { name: string; packet: Uint8Array; outer: number; inner: number }[] = [
  {
    name: "IPv4 in IPv4",
    packet: in4(over4({ flagsFragment: IP_DF }), "data"),
    outer: 34,
    inner: 54,
  },
  { name: "IPv6 in IPv4", packet: in6(over4(), "data"), outer: 34, inner: 74 },
  { name: "IPv4 in IPv6", packet: in4(over6(), "data"), outer: 54, inner: 74 },
  { name: "IPv6 in IPv6", packet: in6(over6(), "data"), outer: 54, inner: 94 },
];
for (const { name, packet, outer, inner } of cuts) {
  test(`the agent survives every cut: ${name}`, { skip }, () => {
    assert.ok(outer < inner && inner < packet.length);
    for (let length = 14; length < packet.length; length += 1) {
      assertLeft(packet.subarray(0, length), length < inner ? "too_short" : "malformed");
    }
    assert.equal(agent!.run(packet).counted[0], `decapsulated 1/${packet.length}`);
  });
}

test("the agent leaves every cut of what is no tunnel alone", { skip }, () => {
  const packet = frame.ipv4(CLIENT, VIP).raw(IPPROTO_TCP, "x".repeat(20));
  for (let length = 14; length <= packet.length; length += 1) {
    assertLeft(packet.subarray(0, length), length < 34 ? "too_short" : "not_encapsulated");
  }
});
