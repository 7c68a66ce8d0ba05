/**
 * The director's program against its reference: random configurations, random and damaged packets, and
 * for each the verdict, the bytes that leave, and every counter.
 */
import { damaged, Random, randomFrame, randomPacket } from "../datapath/fuzz-fixture.ts";
import { referenceDirector } from "../datapath/reference/director.ts";
import type { DirectorOutcome } from "../datapath/reference/world.ts";
import { formatIp } from "../net/address.ts";
import { eth, type LinkLayer } from "../packet/build.ts";
import { formatPacket } from "../packet/format.ts";
import { ETH_P_8021AD, ETH_P_8021Q } from "../packet/headers.ts";
import {
  DIRECTOR_MAC,
  DirectorUnderTest,
  ownersOf,
  referenceWorld,
  ROUTER_MAC,
} from "./director-fixture.ts";
import { FUZZ_PORTS, type FuzzWorld, randomAddress, randomWorld } from "./fuzz-world-fixture.ts";

export interface FuzzResult {
  readonly packets: number;
  readonly differences: number;
  /** What differed, the first few. */
  readonly examples: readonly string[];
  /** Packets by reason. */
  readonly reasons: ReadonlyMap<string, number>;
}

/** Packets that meet one configuration. */
const PACKETS_PER_WORLD = 4000;
/** How often a built packet is used: once whole, then damaged anew. */
const USES = 4;
const EXAMPLES_MAX = 5;
/** Nanoseconds between packets, of which few are answered: the limit is reached, and left again. */
const STEP = 300_000n;
const LIMITS = { interval: 100_000_000n, burst: 150_000_000n } as const;

/** Runs `packets` packets. `progress` is told after each configuration. */
export async function fuzzDirector(
  options: { readonly packets: number; readonly seed: number },
  progress: (done: number, differences: number) => void = () => {},
): Promise<FuzzResult> {
  const reasons = new Map<string, number>();
  const examples: string[] = [];
  let [done, differences] = [0, 0];
  for (let world = 0; done < options.packets; world += 1) {
    const seed = (options.seed + world) >>> 0;
    const count = Math.min(PACKETS_PER_WORLD, options.packets - done);
    for (const difference of await fuzzWorld(seed, count, reasons)) {
      differences += 1;
      if (examples.length < EXAMPLES_MAX) examples.push(difference);
    }
    done += count;
    progress(done, differences);
  }
  return { packets: done, differences, examples, reasons };
}

async function fuzzWorld(
  seed: number,
  count: number,
  reasons: Map<string, number>,
): Promise<readonly string[]> {
  const random = new Random(seed);
  const world = randomWorld(random);
  const { state, given } = world;
  using director = new DirectorUnderTest(state, given);
  await director.tables.publish(state, ownersOf);
  const expect = referenceDirector({ ...referenceWorld(state, given), limits: LIMITS });
  const tally = new Tally(world);
  const differences: string[] = [];
  let [now, base] = [1_000_000_000n, randomInput(random, world)];
  director.setLimits(LIMITS);
  const clock = new BigUint64Array(director.limits.buffer, director.limits.byteOffset, 1);
  for (let index = 0; index < count; index += 1) {
    if (index % USES === 0) base = randomInput(random, world);
    const input = index % USES === 0 ? base : damaged(random, base);
    now += STEP;
    clock[0] = now;
    const expected = expect(input, now);
    const { verdict, packet } = director.testRun.run(input);
    const isSame =
      verdict === expected.verdict &&
      (expected.packet === null || Buffer.compare(packet, expected.packet) === 0);
    if (!isSame) differences.push(describe(seed, index, input, expected, { verdict, packet }));
    tally.add(expected, input.length);
    reasons.set(expected.reason, (reasons.get(expected.reason) ?? 0) + 1);
  }
  if (differences.length === 0) {
    const wrong = tally.compare(director.counters());
    if (wrong !== null) differences.push(`configuration ${seed}: ${wrong}`);
  }
  return differences;
}

/** What every counter should be. */
class Tally {
  readonly #world: FuzzWorld;
  readonly #counts = new Map<string, [bigint, bigint]>();

  constructor(world: FuzzWorld) {
    this.#world = world;
  }

  add({ reason, counters }: DirectorOutcome, length: number): void {
    this.#count(`reason ${reason}`, length);
    if (counters === null) return;
    const pool = this.#world.state.pools[counters.service];
    const member = pool?.members[counters.member - pool.memberCounters];
    this.#count(`service ${pool?.name}`, length);
    this.#count(`member ${pool?.name} ${member?.name}`, length);
  }

  /** What differs, or `null`. */
  compare(counters: ReadonlyMap<string, readonly [bigint, bigint]>): string | null {
    const wrong = [...counters].flatMap(([name, [packets, bytes]]) => {
      const [wantedPackets, wantedBytes] = this.#counts.get(name) ?? [0n, 0n];
      if (packets === wantedPackets && bytes === wantedBytes) return [];
      return [`"${name}" is ${packets}/${bytes}, should be ${wantedPackets}/${wantedBytes}`];
    });
    return wrong.length === 0 ? null : `counters: ${wrong.join("; ")}`;
  }

  #count(name: string, length: number): void {
    const [packets, bytes] = this.#counts.get(name) ?? [0n, 0n];
    this.#counts.set(name, [packets + 1n, bytes + BigInt(length)]);
  }
}

function randomInput(random: Random, world: FuzzWorld): Uint8Array {
  const { services } = world.state;
  let link: LinkLayer = eth(ROUTER_MAC, DIRECTOR_MAC);
  if (random.chance(0.02)) return randomFrame(random, link);
  for (let tags = random.below(world.given.vlanTags + 1); tags > 0; tags -= 1) {
    link = link.vlan(random.below(4096), { tagType: random.pick([ETH_P_8021Q, ETH_P_8021AD]) });
  }
  // Mostly for one of the services, and then at a port that is just inside or just outside.
  const destinations = { ipv4: "", ipv6: "" };
  const ports = [random.pick(FUZZ_PORTS)];
  for (const family of [4, 6] as const) {
    const own = services.filter(({ vip }) => vip.address.family === family);
    const service = own.length === 0 ? undefined : random.pick(own);
    const isNear = service === undefined || random.chance(0.2);
    const address = isNear ? randomAddress(random, family) : service.vip.address;
    destinations[`ipv${family}`] = formatIp(address);
    if (service === undefined) continue;
    const { first, last } = service.ports;
    ports.push(first, last, random.chance(0.1) ? (last + 1) & 0xffff : first);
  }
  return randomPacket(random, link, {
    sources: SOURCES,
    destinations: { ipv4: [destinations.ipv4], ipv6: [destinations.ipv6] },
    ports,
  });
}

const SOURCES = {
  ipv4: ["192.0.2.99", "203.0.113.77", "198.18.0.1", "0.0.0.0", "255.255.255.255", "127.0.0.1"],
  ipv6: ["2001:db8:c::99", "2001:db8:ffff::1", "2001:2::1", "::", "::1", "ff02::1"],
};

function describe(
  seed: number,
  index: number,
  input: Uint8Array,
  expected: DirectorOutcome,
  is: { readonly verdict: number; readonly packet: Uint8Array },
): string {
  return [
    `configuration ${seed}, packet ${index}:`,
    formatPacket(input),
    `the program: verdict ${is.verdict}`,
    formatPacket(is.packet),
    `the reference: ${expected.reason}, verdict ${expected.verdict}`,
    expected.packet === null ? "" : formatPacket(expected.packet),
  ].join("\n");
}
