/**
 * Every forwarding around every family, with and without VLAN tags: packets built from outside in, byte
 * for byte. The builder sums checksums over all of a packet, the program does not.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BACKEND_4,
  BACKEND_6,
  DIRECTOR,
  DIRECTOR_6,
  DIRECTOR_MAC,
  DirectorUnderTest,
  HASH_KEY,
  ROUTER_MAC,
  stateOf,
  type VariantGiven,
  VIP,
  VIP_6,
} from "../../apply/director-fixture.ts";
import { XDP_DROP, XDP_TX } from "../../bpf/xdp.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import { defaultTunnels } from "../../model/model.ts";
import { formatIp, ip } from "../../net/address.ts";
import { parsePrefix } from "../../net/prefix.ts";
import { bare, eth, type LinkLayer } from "../../packet/build.ts";
import { problemsOf } from "../../packet/decode.ts";
import { formatPacket } from "../../packet/format.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  Ethernet,
  IPPROTO_HOPOPTS,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../packet/headers.ts";
import type { DesiredState } from "../../plan/desired-state.ts";
import type { PathTag } from "../../plan/path.ts";
import { flowHash } from "../flow-hash.ts";
import { ForwardingCode, Limits } from "../layout.ts";
import { inTunnel } from "../tunnel-fixture.ts";

const CLIENT = "198.18.0.1";
const CLIENT_6 = "2001:2::1";
const FROM = "00:00:5e:00:53:c1";
const PORT = 81;
const SOURCE_PORT = 40_000;

type Family = 4 | 6;
type Kind = "ipip" | "gre" | "fou" | "gue";
const families: readonly Family[] = [4, 6];

/** One pool of one backend behind the router, over IPv4 or IPv6. */
function stateWith(
  forwarding: ForwardingCode,
  outer: Family,
  tags: readonly PathTag[] = [],
): DesiredState {
  const state = stateOf([outer === 4 ? "ipip4" : "ipip6"]);
  const pools = state.pools.map((pool) => ({
    ...pool,
    members: pool.members.map((member) => ({
      ...member,
      forwarding,
      path: member.path && { ...member.path, tags },
    })),
  }));
  const services = state.services.map((service) => ({
    ...service,
    ports: { first: PORT, last: PORT },
  }));
  const vips = services.flatMap(({ vip }) => (vip.address.family === outer ? [vip.address] : []));
  const backend = formatIp(pools[0]?.members[0]?.address ?? ip("::"));
  return { pools, services, codePoints: new Map([[backend, [ip("192.0.2.99"), ...vips]]]) };
}

/** The hash of the client's flow, as docs/design/flow-hash.md says. */
function hashOf(family: Family, protocol: number): number {
  const [source, vip] = family === 4 ? [CLIENT, VIP] : [CLIENT_6, VIP_6];
  const ports = [SOURCE_PORT >> 8, SOURCE_PORT & 0xff, PORT >> 8, PORT & 0xff];
  const bytes = Uint8Array.of(...ip(source).bytes, ...ip(vip).bytes, ...ports, protocol, 0, 0, 0);
  return flowHash(HASH_KEY, Array.from(new Uint32Array(bytes.buffer)));
}

interface Inner {
  readonly family: Family;
  readonly protocol?: "tcp" | "udp" | "udp without checksum";
  readonly payload?: string;
  readonly hops?: number;
  readonly options?: Uint8Array;
  readonly extension?: number;
}

/** What the client sends, inside whatever `link` is. */
function inner(link: Pick<LinkLayer, "ipv4" | "ipv6">, given: Inner): Uint8Array {
  const { family, protocol = "tcp", payload = "data.", hops = 64, options, extension } = given;
  const rest = options === undefined ? {} : { options };
  let network =
    family === 4
      ? link.ipv4(CLIENT, VIP, { ttl: hops, tos: 0xbb, ...rest })
      : link.ipv6(CLIENT_6, VIP_6, { hopLimit: hops, versionClassFlow: 0x6bb12345 });
  if (extension !== undefined) network = network.extension(extension);
  const ports = { sourcePort: SOURCE_PORT, destinationPort: PORT };
  if (protocol === "tcp") return network.tcp(ports, payload);
  return network.udp(protocol === "udp" ? ports : { ...ports, checksum: 0 }, payload);
}

/** What the backend gets: `link` is the Ethernet header, tags and all. */
function outside(
  link: LinkLayer,
  kind: Kind,
  outer: Family,
  given: Inner,
  options: { readonly checksum?: 0; readonly source?: string } = { checksum: 0 },
): Uint8Array {
  const { family, protocol = "tcp" } = given;
  const hash = hashOf(family, protocol === "tcp" ? IPPROTO_TCP : IPPROTO_UDP);
  const network =
    outer === 4
      ? link.ipv4(options.source ?? DIRECTOR, BACKEND_4, { tos: 0xbb })
      : link.ipv6(options.source ?? DIRECTOR_6, BACKEND_6, {
          versionClassFlow: ((6 << 28) | (0xbb << 20) | (hash & 0xfffff)) >>> 0,
        });
  const packet = inner(bare(), { hops: 63, ...given });
  return inTunnel(network, kind, packet, {
    sourcePort: 0xc000 | (hash >>> 18),
    ...(options.checksum !== undefined && { checksum: options.checksum }),
  });
}

const codeOf = (kind: Kind, outer: Family): ForwardingCode =>
  ForwardingCode[`${kind}OverIpv${outer}`];

const toUs = eth(FROM, DIRECTOR_MAC);
const toRouter = eth(DIRECTOR_MAC, ROUTER_MAC);

async function assertForwarded(
  state: DesiredState,
  given: VariantGiven,
  rows: readonly {
    readonly input: Uint8Array;
    readonly output: Uint8Array;
    readonly what?: string;
  }[],
): Promise<void> {
  using director = await DirectorUnderTest.open(state, given);
  for (const { input, output, what = "" } of rows) {
    const { verdict, packet, counted } = director.run(input);
    assert.equal(counted[0], `reason forwarded 1/${input.length}`, what);
    assert.equal(verdict, XDP_TX, what);
    assert.equal(formatPacket(packet), formatPacket(output), what);
    assert.deepEqual(Buffer.from(packet), Buffer.from(output), what);
    assert.deepEqual(problemsOf(packet), problemsOf(output), what);
  }
}

const kinds: readonly Kind[] = ["ipip", "gre", "fou", "gue"];
const inners: readonly (Inner & { readonly what: string })[] = families.flatMap((family) => [
  { what: `TCP over IPv${family}`, family },
  { what: `UDP over IPv${family}`, family, protocol: "udp" as const },
  {
    what: `UDP over IPv${family} without checksum`,
    family,
    protocol: "udp without checksum" as const,
  },
  { what: `an odd payload over IPv${family}`, family, payload: "odd" },
  { what: `no payload over IPv${family}`, family, payload: "" },
]);

for (const kind of kinds) {
  for (const outer of families) {
    const code = codeOf(kind, outer);
    test(`${kind} over IPv${outer}`, { skip }, () =>
      assertForwarded(
        stateWith(code, outer),
        {},
        inners.map((given) => ({
          what: given.what,
          input: inner(toUs, given),
          output: outside(toRouter, kind, outer, given),
        })),
      ),
    );

    if (kind === "ipip" || kind === "gre") continue;
    test(`${kind} over IPv${outer} with checksums`, { skip }, () => {
      const rows = [
        ...inners,
        { what: "IPv4 options", family: 4 as const, options: Uint8Array.of(0x94, 4, 0, 0) },
        { what: "an extension header", family: 6 as const, extension: IPPROTO_HOPOPTS },
      ];
      return assertForwarded(
        stateWith(code, outer),
        { tunnels: { ...defaultTunnels, udpChecksum: true } },
        rows.map((given) => {
          const isWithout =
            "extension" in given ||
            ("protocol" in given && given.protocol === "udp without checksum");
          const checksum = isWithout ? { checksum: 0 as const } : {};
          return {
            what: given.what,
            input: inner(toUs, given),
            output: outside(toRouter, kind, outer, given, checksum),
          };
        }),
      );
    });
  }
}

test("tunnels in UDP go to the ports that are configured", { skip }, async () => {
  const tunnels = { ...defaultTunnels, fouPort: 1, fouPortIpv6: 65_535, guePort: 256 };
  for (const [code, port] of [
    [ForwardingCode.fouOverIpv4, { 4: 1, 6: 65_535 }],
    [ForwardingCode.gueOverIpv4, { 4: 256, 6: 256 }],
  ] as const) {
    using director = await DirectorUnderTest.open(stateWith(code, 4), { tunnels });
    for (const family of families) {
      const { packet } = director.run(inner(toUs, { family }));
      const at = Ethernet.size + 20 + 2;
      assert.equal(((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0), port[family]);
    }
  }
});

for (const [text, source] of [
  ["198.51.100.0/24", `198.51.100.${hashOf(4, IPPROTO_TCP) & 0xff}`],
  ["0.0.0.0/0", formatIp({ family: 4, bytes: bigEndian(hashOf(4, IPPROTO_TCP)) })],
] as const) {
  test(`outer headers over IPv4 come from ${text} by the flow`, { skip }, () => {
    const ipv4 = parsePrefix(text) ?? null;
    return assertForwarded(
      stateWith(ForwardingCode.ipipOverIpv4, 4),
      { outerSources: { ipv4, ipv6: null } },
      [
        {
          input: inner(toUs, { family: 4 }),
          output: outside(toRouter, "ipip", 4, { family: 4 }, { checksum: 0, source }),
        },
      ],
    );
  });
}

test("outer headers over IPv6 come from a prefix by the flow, in its last 32 bits", {
  skip,
}, () => {
  const hash = hashOf(4, IPPROTO_TCP);
  const prefix = ip("2001:db8:aaaa:bbbb::");
  const source = formatIp({
    family: 6,
    bytes: Uint8Array.of(...prefix.bytes.subarray(0, 12), ...bigEndian(hash)),
  });
  return assertForwarded(
    stateWith(ForwardingCode.greOverIpv6, 6),
    { outerSources: { ipv4: null, ipv6: { address: prefix, length: 64 } } },
    [
      {
        input: inner(toUs, { family: 4 }),
        output: outside(toRouter, "gre", 6, { family: 4 }, { checksum: 0, source }),
      },
    ],
  );
});

function bigEndian(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

const CODE_POINT = 2;
for (const family of families) {
  test(`dscp over IPv${family}: the destination is the backend's, the code point says which VIP`, {
    skip,
  }, () => {
    const backend = family === 4 ? BACKEND_4 : BACKEND_6;
    const rows = [
      { protocol: "tcp" as const },
      { protocol: "udp" as const },
      { protocol: "udp without checksum" as const },
    ].map(({ protocol }) => {
      const given = { family, protocol };
      const ports = { sourcePort: SOURCE_PORT, destinationPort: PORT };
      // ECN stays: 0xbb is DSCP 46 and CE.
      const network =
        family === 4
          ? toRouter.ipv4(CLIENT, backend, { ttl: 63, tos: (CODE_POINT << 2) | 3 })
          : toRouter.ipv6(CLIENT_6, backend, {
              hopLimit: 63,
              versionClassFlow: 0x60012345 | (((CODE_POINT << 2) | 3) << 20),
            });
      const output =
        protocol === "tcp"
          ? network.tcp(ports, "data.")
          : network.udp(protocol === "udp" ? ports : { ...ports, checksum: 0 }, "data.");
      return { what: protocol, input: inner(toUs, given), output };
    });
    return assertForwarded(stateWith(ForwardingCode.dscp, family), {}, rows);
  });
}

test("dscp drops TCP whose header is cut short", { skip }, async () => {
  using director = await DirectorUnderTest.open(stateWith(ForwardingCode.dscp, 4));
  const whole = toUs
    .ipv4(CLIENT, VIP)
    .raw(IPPROTO_TCP, Uint8Array.of(0x9c, 0x40, 0, PORT, ...new Uint8Array(15)));
  const { verdict, counted } = director.run(whole);
  assert.deepEqual([verdict, counted[0]], [XDP_DROP, `reason malformed 1/${whole.length}`]);
});

const TAGS: readonly (readonly PathTag[])[] = [
  [],
  [{ protocol: ETH_P_8021Q, id: 20 }],
  [
    { protocol: ETH_P_8021AD, id: 30 },
    { protocol: ETH_P_8021Q, id: 40 },
  ],
];
const tagged = (link: LinkLayer, tags: readonly PathTag[]): LinkLayer =>
  tags.reduce((so, { id, protocol }) => so.vlan(id, { tagType: protocol }), link);

for (const came of TAGS) {
  for (const leaves of TAGS) {
    test(`a frame with ${came.length} VLAN tags leaves with ${leaves.length}`, {
      skip,
    }, async () => {
      const other = came.map(({ protocol }, at) => ({ protocol, id: 5 + at }));
      const variant = { vlanTags: 2 };
      for (const kind of kinds) {
        await assertForwarded(stateWith(codeOf(kind, 4), 4, leaves), variant, [
          {
            what: kind,
            input: inner(tagged(toUs, other), { family: 4 }),
            output: outside(tagged(toRouter, leaves), kind, 4, { family: 4 }),
          },
          {
            what: `${kind}, IPv6`,
            input: inner(tagged(toUs, other), { family: 6 }),
            output: outside(tagged(toRouter, leaves), kind, 4, { family: 6 }),
          },
        ]);
      }
      await assertForwarded(stateWith(ForwardingCode.l2, 4, leaves), variant, [
        {
          what: "l2",
          input: inner(tagged(toUs, other), { family: 4 }),
          output: inner(tagged(toRouter, leaves), { family: 4 }),
        },
        {
          what: "l2, IPv6",
          input: inner(tagged(toUs, other), { family: 6 }),
          output: inner(tagged(toRouter, leaves), { family: 6 }),
        },
      ]);
    });
  }
}

test("more tags than are looked behind are not ours", { skip }, async () => {
  for (const vlanTags of [0, 1]) {
    using director = await DirectorUnderTest.open(stateWith(ForwardingCode.l2, 4), { vlanTags });
    for (let tags = 0; tags <= 2; tags += 1) {
      const packet = inner(tagged(toUs, TAGS[tags] ?? []), { family: 4 });
      const reason = tags > vlanTags ? "not_ip" : "forwarded";
      assert.equal(director.run(packet).counted[0], `reason ${reason} 1/${packet.length}`);
    }
  }
});

const addresses = { ipv4: ip(DIRECTOR), ipv6: ip(DIRECTOR_6) };
for (const tags of TAGS) {
  for (const family of families) {
    for (const hops of [0, 1]) {
      test(`a packet over IPv${family} whose last hop we are is answered, hops ${hops}, ${tags.length} tags`, {
        skip,
      }, async () => {
        using director = await DirectorUnderTest.open(stateWith(ForwardingCode.greOverIpv4, 4), {
          vlanTags: 2,
          addresses,
        });
        const packet = inner(tagged(toUs, tags), { family, hops, payload: "x".repeat(300) });
        const back = tagged(eth(DIRECTOR_MAC, FROM), tags);
        const quoted = inner(bare(), { family, hops, payload: "x".repeat(300) });
        const answer =
          family === 4
            ? back
                .ipv4(DIRECTOR, CLIENT, { flagsFragment: 0 })
                .icmp({ type: 11, rest: 0 }, quoted.subarray(0, 28))
            : back.ipv6(DIRECTOR_6, CLIENT_6).icmpv6({ type: 3, rest: 0 }, quoted.subarray(0, 48));
        const { verdict, packet: out, counted } = director.run(packet);
        assert.deepEqual(counted, [`reason time_exceeded 1/${packet.length}`]);
        assert.equal(verdict, XDP_TX);
        assert.equal(formatPacket(out), formatPacket(answer));
        assert.deepEqual(Buffer.from(out), Buffer.from(answer));
      });
    }
  }
}

test("the answer quotes the options of a header", { skip }, async () => {
  using director = await DirectorUnderTest.open(stateWith(ForwardingCode.ipipOverIpv4, 4), {
    addresses,
  });
  for (const bytes of [4, 20, 40]) {
    const options = new Uint8Array(bytes).fill(1);
    const packet = inner(toUs, { family: 4, hops: 1, options });
    const quoted = inner(bare(), { family: 4, hops: 1, options });
    const answer = eth(DIRECTOR_MAC, FROM)
      .ipv4(DIRECTOR, CLIENT, { flagsFragment: 0 })
      .icmp({ type: 11, rest: 0 }, quoted.subarray(0, 20 + bytes + 8));
    const { packet: out } = director.run(packet);
    assert.equal(formatPacket(out), formatPacket(answer));
    assert.deepEqual(Buffer.from(out), Buffer.from(answer));
  }
});

test("l2 forwards as a switch does: whatever the hops", { skip }, () =>
  assertForwarded(
    stateWith(ForwardingCode.l2, 4),
    { addresses },
    [0, 1, 255].flatMap((hops) =>
      families.map((family) => ({
        input: inner(toUs, { family, hops }),
        output: inner(toRouter, { family, hops }),
      })),
    ),
  ),
);

function assertSilent(director: DirectorUnderTest, packet: Uint8Array, what: string): void {
  const { verdict, counted } = director.run(packet);
  const expected = [XDP_DROP, `reason time_exceeded_silent 1/${packet.length}`];
  assert.deepEqual([verdict, ...counted], expected, what);
}

test("nobody is answered who cannot be, nor from no address", { skip }, async () => {
  const state = stateWith(ForwardingCode.gueOverIpv6, 6);
  const ports = { sourcePort: SOURCE_PORT, destinationPort: PORT };
  using director = await DirectorUnderTest.open(state, { addresses });
  for (const source of [
    "0.0.0.0",
    "127.0.0.1",
    "127.255.0.9",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
  ]) {
    assertSilent(director, toUs.ipv4(source, VIP, { ttl: 1 }).tcp(ports), source);
  }
  for (const source of ["::", "::1", "ff02::1"]) {
    assertSilent(director, toUs.ipv6(source, VIP_6, { hopLimit: 1 }).tcp(ports), source);
  }
  using without = await DirectorUnderTest.open(state, { addresses: { ipv4: null, ipv6: null } });
  for (const family of families)
    assertSilent(without, inner(toUs, { family, hops: 1 }), "no address");
});

test("answers are limited by the clock", { skip }, async () => {
  using director = await DirectorUnderTest.open(stateWith(ForwardingCode.ipipOverIpv4, 4), {
    addresses,
  });
  const packet = inner(toUs, { family: 4, hops: 1 });
  const reason = (): string => director.run(packet).counted[0]?.split(" ")[1] ?? "";
  const at = (clock: bigint): void =>
    Limits.write(director.limits, { ...Limits.read(director.limits), clock });
  director.setLimits({ clock: 1000n, interval: 100n, burst: 250n });
  assert.deepEqual(
    [reason(), reason(), reason(), reason()],
    [...Array(3).fill("time_exceeded"), "rate_limited"],
  );
  at(1050n);
  assert.deepEqual([reason(), reason()], ["time_exceeded", "rate_limited"]);
  at(1051n);
  assert.equal(reason(), "rate_limited");
  at(9000n);
  assert.deepEqual(
    [reason(), reason(), reason(), reason()],
    [...Array(3).fill("time_exceeded"), "rate_limited"],
  );
});

test("without a clock of its own the program takes the kernel's", { skip }, async () => {
  using director = await DirectorUnderTest.open(stateWith(ForwardingCode.ipipOverIpv4, 4), {
    addresses,
  });
  const packet = inner(toUs, { family: 4, hops: 1 });
  director.setLimits({ interval: 10n ** 15n, burst: 0n });
  assert.equal(director.run(packet).counted[0], `reason time_exceeded 1/${packet.length}`);
  assert.equal(director.run(packet).counted[0], `reason rate_limited 1/${packet.length}`);
});
