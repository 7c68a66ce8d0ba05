/**
 * Every tunnel around every family behind every number of VLAN tags, prefixes as VIPs, and what came
 * without a tunnel: frames built from outside in, byte for byte.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { XDP_PASS } from "../../bpf/xdp.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import { vip } from "../../model/service-fixture.ts";
import { ip } from "../../net/address.ts";
import { bare, eth, type LinkLayer } from "../../packet/build.ts";
import { problemsOf } from "../../packet/decode.ts";
import { assertPacket } from "../../packet/format.ts";
import { ETH_P_8021AD } from "../../packet/headers.ts";
import type { ReferenceAgent } from "../reference/agent.ts";
import { inTunnel } from "../tunnel-fixture.ts";
import { AgentUnderTest, agentWorld, DIRECTOR, DIRECTOR_6, skipOf } from "./agent-fixture.ts";
import { type TunnelKind, tunnelKinds } from "./variant.ts";

const OWN = "203.0.113.12";
const OWN_6 = "2001:db8:21::12";
const CLIENT = "192.0.2.99";
const CLIENT_6 = "2001:db8:c::99";
const families = [4, 6] as const;
type Family = (typeof families)[number];

const ethernet = eth("00:00:5e:00:53:fe", "00:00:5e:00:53:12");
const links: readonly { readonly tags: number; readonly link: LinkLayer }[] = [
  { tags: 0, link: ethernet },
  { tags: 1, link: ethernet.vlan(100) },
  { tags: 2, link: ethernet.vlan(7, { tagType: ETH_P_8021AD, priority: 5 }).vlan(100) },
];

/** What a client sent, inside whatever `link` is. */
const inside = (link: Pick<LinkLayer, "ipv4" | "ipv6">, family: Family, to?: string): Uint8Array =>
  (family === 4
    ? link.ipv4(CLIENT, to ?? "192.0.2.10", { tos: 0xb8 })
    : link.ipv6(CLIENT_6, to ?? "2001:db8::10", { versionClassFlow: 0x6b81_2345 })
  ).tcp({ sourcePort: 40_000, destinationPort: 80, flags: "S" }, "data");

/** What a director makes of it. */
function around(
  link: LinkLayer,
  kind: TunnelKind,
  outer: Family,
  inner: Family,
  to?: string,
): Uint8Array {
  const packet = inside(bare(), inner, to);
  const network = outer === 4 ? link.ipv4(DIRECTOR, OWN) : link.ipv6(DIRECTOR_6, OWN_6);
  return inTunnel(network, kind, packet);
}

function assertBecomes(
  agent: AgentUnderTest,
  reason: string,
  input: Uint8Array,
  output: Uint8Array,
): void {
  const { verdict, packet, counted } = agent.run(input);
  assert.deepEqual([verdict, ...counted], [XDP_PASS, `${reason} 1/${input.length}`]);
  assertPacket(packet, output);
  const before = problemsOf(input);
  assert.deepEqual(
    problemsOf(packet).filter((problem) => !before.includes(problem)),
    [],
  );
}

for (const vlanTags of [0, 1, 2]) {
  test(`an agent that looks behind ${vlanTags} VLAN tags decapsulates every tunnel`, {
    skip,
  }, () => {
    using agent = new AgentUnderTest({ ...agentWorld, vlanTags });
    for (const { tags, link } of links) {
      for (const kind of tunnelKinds) {
        for (const outer of families) {
          for (const inner of families) {
            const input = around(link, kind, outer, inner);
            if (tags <= vlanTags) {
              assertBecomes(agent, "decapsulated", input, inside(link, inner));
            } else {
              assertBecomes(agent, "not_encapsulated", input, input);
            }
          }
        }
      }
    }
  });
}

test("an agent in the stack decapsulates every tunnel", { skip: skipOf("tc") }, () => {
  using agent = new AgentUnderTest(agentWorld, "tc");
  for (const kind of tunnelKinds) {
    for (const outer of families) {
      for (const inner of families) {
        const input = around(ethernet, kind, outer, inner);
        assertBecomes(agent, "decapsulated", input, inside(ethernet, inner));
      }
    }
  }
});

test("tunnels in UDP come to the ports that are configured, and to no other", { skip }, () => {
  const tunnels = { fouPort: 5556, fouPortIpv6: 6080, guePort: 5555 };
  using agent = new AgentUnderTest({ ...agentWorld, tunnels });
  const network = ethernet.ipv4(DIRECTOR, OWN);
  const input = network.udp({ destinationPort: 5556 }, inside(bare(), 4));
  assertBecomes(agent, "decapsulated", input, inside(ethernet, 4));
  const ipv6 = network.udp({ destinationPort: 6080 }, inside(bare(), 6));
  assertBecomes(agent, "decapsulated", ipv6, inside(ethernet, 6));
});

test("prefixes and addresses as VIPs", { skip }, () => {
  const vips = ["192.0.2.0/25", "198.18.0.0/15", "192.0.2.200", "2001:db8::/64", "2001:db8:1::1"];
  using agent = new AgentUnderTest({ ...agentWorld, vips: vips.map(vip) });
  const rows: readonly (readonly [to: string, isVip: boolean])[] = [
    ["192.0.2.0", true],
    ["192.0.2.127", true],
    ["192.0.2.128", false],
    ["192.0.2.200", true],
    ["192.0.2.201", false],
    ["198.19.255.255", true],
    ["198.20.0.0", false],
    ["2001:db8::", true],
    ["2001:db8::ffff:ffff:ffff:ffff", true],
    ["2001:db8:0:1::", false],
    ["2001:db8:1::1", true],
    ["2001:db8:1::2", false],
  ];
  for (const [to, isVip] of rows) {
    const family = to.includes(":") ? 6 : 4;
    const input = around(ethernet, "ipip", 4, family, to);
    if (isVip) assertBecomes(agent, "decapsulated", input, inside(ethernet, family, to));
    else assert.deepEqual(agent.run(input).counted, [`foreign_vip 1/${input.length}`], to);
  }
});

const dscpWorld: ReferenceAgent = {
  ...agentWorld,
  vlanTags: 1,
  dscp: [
    { address: ip(OWN), vips: ["192.0.2.10", "192.0.2.11"].map(ip) },
    { address: ip(OWN_6), vips: [ip("2001:db8::10")] },
  ],
};

/** A packet of the client to `to`, with a code point. */
function marked(
  link: LinkLayer,
  to: string,
  codePoint: number,
  rest: {
    readonly ecn?: number;
    readonly udp?: "sum" | "none";
    readonly options?: Uint8Array;
  } = {},
): Uint8Array {
  const { ecn = 0, udp, options } = rest;
  const trafficClass = (codePoint << 2) | ecn;
  const network = to.includes(":")
    ? link.ipv6(CLIENT_6, to, { versionClassFlow: (0x60012345 | (trafficClass << 20)) >>> 0 })
    : link.ipv4(CLIENT, to, { tos: trafficClass, ...(options === undefined ? {} : { options }) });
  const ports = { sourcePort: 40_000, destinationPort: 443 };
  if (udp === undefined) return network.tcp(ports, "data.");
  return network.udp(udp === "sum" ? ports : { ...ports, checksum: 0 }, "data.");
}

for (const form of ["xdp", "tc"] as const) {
  test(`a code point at an address of ours becomes its VIP again, ${form}`, {
    skip: skipOf(form),
  }, () => {
    using agent = new AgentUnderTest(dscpWorld, form);
    const rows = [
      [OWN, 1, "192.0.2.10"],
      [OWN, 2, "192.0.2.11"],
      [OWN_6, 1, "2001:db8::10"],
    ] as const;
    for (const [own, codePoint, to] of rows) {
      for (const { link } of links.slice(0, form === "xdp" ? 2 : 1)) {
        for (const ecn of [0, 1, 2, 3]) {
          for (const udp of [undefined, "sum", "none"] as const) {
            const rest = { ecn, ...(udp === undefined ? {} : { udp }) };
            assertBecomes(
              agent,
              "restored",
              marked(link, own, codePoint, rest),
              marked(link, to, 0, rest),
            );
          }
        }
      }
    }
    const options = Uint8Array.of(0x94, 4, 0, 0);
    const input = marked(ethernet, OWN, 2, { options });
    assertBecomes(agent, "restored", input, marked(ethernet, "192.0.2.11", 0, { options }));
  });
}

test("what names no VIP, and what is not TCP or UDP, is left as it is", { skip }, () => {
  using agent = new AgentUnderTest(dscpWorld);
  for (const input of [
    marked(ethernet, OWN, 0),
    marked(ethernet, OWN, 3),
    marked(ethernet, OWN, 63),
    marked(ethernet, OWN_6, 2),
    marked(ethernet, "203.0.113.13", 1),
    marked(ethernet, "192.0.2.10", 1),
    marked(links[2]?.link ?? ethernet, OWN, 1),
    ethernet.ipv4(CLIENT, OWN, { tos: 4 }).icmp(),
    ethernet.ipv4(CLIENT, OWN, { tos: 4, flagsFragment: 1 }).tcp({}),
    ethernet.ipv6(CLIENT_6, OWN_6, { versionClassFlow: 0x60400000 }).icmpv6(),
  ]) {
    assertBecomes(agent, "not_encapsulated", input, input);
  }
});

test("a readdressed packet that is cut or lies about its length is dropped", { skip }, () => {
  using agent = new AgentUnderTest(dscpWorld);
  const whole = ethernet.ipv4(CLIENT, OWN, { tos: 4 }).tcp({});
  for (let length = 34; length < whole.length; length += 1) {
    const { counted } = agent.run(whole.subarray(0, length));
    assert.deepEqual(counted, [`malformed 1/${length}`]);
  }
  for (const totalLength of [20, 27, 39, 1000]) {
    const input = ethernet.ipv4(CLIENT, OWN, { tos: 4, totalLength }).tcp({});
    assert.deepEqual(agent.run(input).counted, [`malformed 1/${input.length}`], `${totalLength}`);
  }
});

/** By whoever. */
const sentFrom = (source: string): Uint8Array =>
  inTunnel(ethernet.ipv4(source, OWN), "gue", inside(bare(), 4));

test("directors that send from a prefix", { skip }, () => {
  const directors = ["198.51.100.0/29", "2001:db8:20::1"].map(vip);
  using agent = new AgentUnderTest({ ...agentWorld, directors });
  for (const source of ["198.51.100.0", "198.51.100.7", "198.51.100.3"]) {
    assertBecomes(agent, "decapsulated", sentFrom(source), inside(ethernet, 4));
  }
  for (const source of ["198.51.100.8", "198.51.99.255"]) {
    const input = sentFrom(source);
    assert.deepEqual(agent.run(input).counted, [`stranger 1/${input.length}`], source);
  }
});
