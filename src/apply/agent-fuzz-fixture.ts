/**
 * The agent's program against its reference: random configurations, random and damaged packets, and for
 * each the verdict, the bytes that the host gets, and every counter.
 */
import { type AgentFormName, AgentUnderTest } from "../datapath/agent/agent-fixture.ts";
import { tunnelKinds } from "../datapath/agent/variant.ts";
import { damaged, Random, randomFrame, randomPacket } from "../datapath/fuzz-fixture.ts";
import { agentReasons } from "../datapath/reasons.ts";
import { type ReferenceAgent, referenceAgent } from "../datapath/reference/agent.ts";
import { inTunnel } from "../datapath/tunnel-fixture.ts";
import { vip } from "../model/service-fixture.ts";
import { defaultTunnels } from "../model/model.ts";
import { formatIp, type IpAddress, ip } from "../net/address.ts";
import { type IpPrefix, maskedPrefix, wholePrefix } from "../net/prefix.ts";
import { bare, eth, type LinkLayer, padTo } from "../packet/build.ts";
import { formatPacket } from "../packet/format.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_IP,
  Ethernet,
  Ipv4,
  Ipv6,
  Vlan,
} from "../packet/headers.ts";
import { DIRECTOR_MAC, ROUTER_MAC } from "./director-fixture.ts";
import type { FuzzResult } from "./director-fuzz-fixture.ts";

/** Packets that meet one configuration. */
const PACKETS_PER_WORLD = 4000;
/** How often a built packet is used: once whole, then damaged anew. */
const USES = 4;
const EXAMPLES_MAX = 5;
/** Ethernet and an IPv6 header (net/bpf/test_run.c). */
const LEAST_BUFFER = 54;

/** Runs `packets` packets. `progress` is told after each configuration. */
export function fuzzAgent(
  options: { readonly packets: number; readonly seed: number; readonly form?: AgentFormName },
  progress: (done: number, differences: number) => void = () => {},
): FuzzResult {
  const { form = "xdp" } = options;
  const reasons = new Map<string, number>();
  const examples: string[] = [];
  let [done, differences] = [0, 0];
  for (let world = 0; done < options.packets; world += 1) {
    const count = Math.min(PACKETS_PER_WORLD, options.packets - done);
    for (const difference of fuzzWorld((options.seed + world) >>> 0, count, form, reasons)) {
      differences += 1;
      if (examples.length < EXAMPLES_MAX) examples.push(difference);
    }
    done += count;
    progress(done, differences);
  }
  return { packets: done, differences, examples, reasons };
}

function fuzzWorld(
  seed: number,
  count: number,
  form: AgentFormName,
  reasons: Map<string, number>,
): readonly string[] {
  const random = new Random(seed);
  // A socket buffer has its tag beside the frame, where no packet that is made here has one.
  const world = { ...randomWorld(random), ...(form === "tc" && { vlanTags: 0 }) };
  using agent = new AgentUnderTest(world, form);
  const expect = referenceAgent(world);
  const tally = agentReasons.map(() => [0n, 0n]);
  const differences: string[] = [];
  let base = randomInput(random, world);
  for (let index = 0; index < count; index += 1) {
    if (index % USES === 0) base = randomInput(random, world);
    let input = index % USES === 0 ? base : damaged(random, base);
    // The kernel makes no socket buffer of less.
    if (form === "tc" && input.length < LEAST_BUFFER) input = padTo(input, LEAST_BUFFER);
    const expected = expect(input);
    const { verdict, packet } = agent.send(input);
    const isSame =
      verdict === expected.verdict &&
      (expected.packet === null || Buffer.compare(packet, expected.packet) === 0);
    if (!isSame) {
      differences.push(
        [
          `configuration ${seed}, packet ${index}:`,
          formatPacket(input),
          `the program: verdict ${verdict}`,
          formatPacket(packet),
          `the reference: ${expected.reason}, verdict ${expected.verdict}`,
          expected.packet === null ? "" : formatPacket(expected.packet),
        ].join("\n"),
      );
    }
    const row = tally[agentReasons.findIndex(({ name }) => name === expected.reason)] ?? [];
    row[0] = (row[0] ?? 0n) + 1n;
    row[1] = (row[1] ?? 0n) + BigInt(input.length);
    reasons.set(expected.reason, (reasons.get(expected.reason) ?? 0) + 1);
  }
  const counted = [...agent.counters()];
  if (differences.length === 0 && counted.join() !== tally.flat().join()) {
    const wrong = agentReasons.filter((_, index) => counted[index * 2] !== tally[index]?.[0]);
    differences.push(`configuration ${seed}: counters of ${wrong.map(({ name }) => name).join()}`);
  }
  return differences;
}

const OWN = { 4: "203.0.113.12", 6: "2001:db8:21::12" } as const;
const families = [4, 6] as const;

function randomWorld(random: Random): ReferenceAgent {
  // Mostly of both families: a packet for one that has none comes to little.
  const wanted = random.chance(0.8) ? families : [random.pick(families)];
  const vips = wanted.flatMap((family) =>
    Array.from({ length: 1 + random.below(4) }, () => randomVip(random, family)),
  );
  const named = (family: 4 | 6): readonly IpAddress[] =>
    vips.flatMap((vip) => (vip.address.family === family ? [vip.address] : []));
  return {
    vips,
    directors: [
      random.pick(["198.51.100.1", "198.51.100.0/29"]),
      random.pick(["2001:db8:20::1", "2001:db8:20::/125"]),
    ]
      .map(vip)
      .slice(random.pick([0, 0, 0, 1])),
    tunnels: random.chance(0.5)
      ? defaultTunnels
      : { ...defaultTunnels, fouPort: 1, fouPortIpv6: 65_535, guePort: 256 },
    dscp: families.flatMap((family) =>
      random.chance(0.7) && named(family).length > 0
        ? [{ address: ip(OWN[family]), vips: named(family) }]
        : [],
    ),
    vlanTags: random.pick([0, 0, 1, 2]),
  };
}

function randomVip(random: Random, family: 4 | 6): IpPrefix {
  const address = randomAddress(random, family);
  if (random.chance(0.7)) return wholePrefix(address);
  const lengths = address.family === 4 ? [8, 16, 24, 31] : [32, 48, 64, 127];
  return maskedPrefix({ address, length: random.pick(lengths) });
}

/** Few, near each other: prefixes have some of them and not others. */
function randomAddress(random: Random, family: 4 | 6): IpAddress {
  const low = random.below(4);
  return family === 4
    ? ip(`192.0.${random.below(2)}.${low}`)
    : ip(`2001:db8:${random.below(2)}::${low}`);
}

function randomInput(random: Random, world: ReferenceAgent): Uint8Array {
  let link: LinkLayer = eth(ROUTER_MAC, DIRECTOR_MAC);
  if (random.chance(0.02)) return randomFrame(random, link);
  for (let tags = random.below(world.vlanTags + 1); tags > 0; tags -= 1) {
    link = link.vlan(random.below(4096), { tagType: random.pick([ETH_P_8021Q, ETH_P_8021AD]) });
  }
  const isReaddressed = random.chance(0.25);
  const destination = (family: 4 | 6): string => {
    if (isReaddressed) return OWN[family];
    const own = world.vips.filter((vip) => vip.address.family === family);
    if (own.length === 0 || random.chance(0.2)) return formatIp(randomAddress(random, family));
    const { address } = random.pick(own);
    return formatIp(address);
  };
  const ends = {
    sources: CLIENTS,
    destinations: { ipv4: [destination(4)], ipv6: [destination(6)] },
    ports: [80, 443, 53],
  };
  // By dscp, or as it is.
  if (isReaddressed) return withCodePoint(random, world, randomPacket(random, link, ends));
  if (random.chance(0.05)) return randomPacket(random, link, ends);
  const isKnown = random.chance(0.85);
  const marks = random.below(256);
  const source = (family: 4 | 6, stranger: string): string => {
    const known = world.directors.find(({ address }) => address.family === family);
    return isKnown && known !== undefined ? formatIp(known.address) : stranger;
  };
  const outer = random.chance(0.5)
    ? link.ipv4(source(4, random.pick(["198.51.100.9", "198.51.100.7"])), OWN[4], {
        tos: marks,
        ...(random.chance(0.03) ? { options: random.bytes(4) } : {}),
      })
    : link.ipv6(source(6, random.pick(["2001:db8:20::9", "2001:db8:20::7"])), OWN[6], {
        versionClassFlow: (0x60000000 | (marks << 20)) >>> 0,
      });
  const kind = random.pick(tunnelKinds);
  const inside = (around: LinkLayer | Network): LinkLayer | Network => {
    if (random.chance(0.95)) return around;
    return random.chance(0.5)
      ? around.ipv4("192.0.2.1", destination(4))
      : around.ipv6("2001:db8:c::1", destination(6));
  };
  if (kind === "ipip") return randomPacket(random, inside(outer), ends);
  const given = { ports: world.tunnels, ...(random.chance(0.5) && { checksum: 0 as const }) };
  return inTunnel(outer, kind, randomPacket(random, inside(bare()), ends), given);
}

type Network = ReturnType<LinkLayer["ipv4"]>;

/** Mostly a code point that names a VIP, or just does not any more. */
function withCodePoint(random: Random, world: ReferenceAgent, frame: Uint8Array): Uint8Array {
  if (random.chance(0.1)) return frame;
  let [at, { etherType }] = [Ethernet.size, Ethernet.read(frame)];
  while (etherType === ETH_P_8021Q || etherType === ETH_P_8021AD) {
    ({ etherType } = Vlan.read(frame, at));
    at += Vlan.size;
  }
  const family = etherType === ETH_P_IP ? 4 : 6;
  const named = world.dscp.find(({ address }) => address.family === family)?.vips.length ?? 0;
  const trafficClass = ((1 + random.below(named + 1)) << 2) | random.below(4);
  if (family === 4) {
    Ipv4.write(frame, { tos: trafficClass }, at);
  } else {
    Ipv6.write(frame, { versionClassFlow: (0x60000000 | (trafficClass << 20)) >>> 0 }, at);
  }
  return frame;
}

const CLIENTS = {
  ipv4: ["192.0.2.99", "203.0.113.77", "0.0.0.0", "255.255.255.255"],
  ipv6: ["2001:db8:c::99", "2001:db8:ffff::1", "::"],
};
