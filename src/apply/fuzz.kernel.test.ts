/**
 * Random and damaged packets through the programs, each held against the reference: the verdict, the
 * bytes that leave, and every counter. FUZZ_PACKETS sets how many (default
 * 100 000 a program), FUZZ_SEED repeats a run.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKEND_4, DIRECTOR_MAC, PORTS, ROUTER_MAC, VIP, VIP_6 } from "./director-fixture.ts";
import { fuzzDirector } from "./director-fuzz-fixture.ts";
import { XDP_DROP, XDP_PASS } from "../bpf/xdp.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import type { TestRun } from "../kernel/test-run.ts";
import { eth } from "../packet/build.ts";
import { problemsOf } from "../packet/decode.ts";
import { assertPacket, formatPacket } from "../packet/format.ts";
import {
  AgentUnderTest,
  agentWorld,
  DIRECTOR,
  DIRECTOR_6,
} from "../datapath/agent/agent-fixture.ts";
import { damaged, Random, randomFrame, randomPacket } from "../datapath/fuzz-fixture.ts";
import { agentReasons, directorReasons } from "../datapath/reasons.ts";
import { referenceAgent } from "../datapath/reference/agent.ts";

const COUNT = Number(process.env["FUZZ_PACKETS"] ?? 100_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const BATCH = 1000;
/** How often a built packet is used: once whole, then damaged anew. */
const USES = 8;

const clients = {
  ipv4: ["192.0.2.99", "203.0.113.77", "0.0.0.0", "255.255.255.255"],
  ipv6: ["2001:db8:c::99", "2001:db8:ffff::1", "::"],
};
const services = Object.values(PORTS);
const ports = [...services, ...services, ...services.map(() => PORTS.mixed), 0, 8080, 65_535];

interface Expected {
  readonly reason: string;
  readonly verdict: number;
  readonly packet: Uint8Array | null;
}

/** Runs one packet and compares all but the counters with `expected`. */
function runOne(testRun: TestRun, input: Uint8Array, expected: Expected): void {
  const { verdict, packet } = testRun.run(input);
  if (verdict !== expected.verdict) {
    assert.fail(
      `Verdict ${verdict}, expected ${expected.verdict} (${expected.reason}) of\n${formatPacket(input)}`,
    );
  }
  if (expected.packet === null) return assert.equal(verdict, XDP_DROP);
  if (Buffer.compare(packet, expected.packet) !== 0) assertPacket(packet, expected.packet);
  if (expected.packet === input) return assert.equal(verdict, XDP_PASS);
  // Sent on: nothing may be wrong with it that was not when it came.
  assert.ok(
    packet.subarray(0, 6).some((byte) => byte !== 0),
    "sent to nobody's MAC",
  );
  const problems = problemsOf(packet);
  if (problems.length === 0) return;
  const before = problemsOf(input);
  // A decapsulated packet may show more of what was wrong: its padding is no longer another's.
  const isKnown = (problem: string): boolean =>
    packet.length < input.length ? before.length > 0 : before.includes(problem);
  assert.deepEqual(
    problems.filter((problem) => !isKnown(problem)),
    [],
    formatPacket(input),
  );
}

/** Packets in turn: a built one whole, then damaged `USES` - 1 times. */
function* packetsFrom(random: Random, count: number, build: () => Uint8Array) {
  let base = build();
  for (let index = 0; index < count; index += 1) {
    if (index % USES === 0) base = build();
    yield index % USES === 0 ? base : damaged(random, base);
  }
}

/** Every reason but those `rare` came up: a fuzz that reaches half of the program proves little. */
function assertReached(
  seen: ReadonlyMap<string, number>,
  reasons: readonly { readonly name: string }[],
  rare: readonly string[],
): void {
  const missing = reasons.filter(({ name }) => !rare.includes(name) && !seen.has(name));
  if (COUNT >= 50_000)
    assert.deepEqual(
      missing.map(({ name }) => name),
      [],
      "reasons not reached",
    );
}

test(`the director does what the reference says, ${COUNT} packets from seed ${SEED}`, {
  skip,
}, async (t) => {
  const { differences, examples, reasons } = await fuzzDirector({ packets: COUNT, seed: SEED });
  assert.equal(differences, 0, examples.join("\n\n"));
  t.diagnostic(`director: ${[...reasons].map((pair) => pair.join(" ")).join(", ")}`);
  assertReached(reasons, directorReasons, ["no_headroom"]);
});

test(`the agent does what the reference says, ${COUNT} packets from seed ${SEED}`, {
  skip,
}, (t) => {
  using agent = new AgentUnderTest();
  const expect = referenceAgent(agentWorld);
  const random = new Random(SEED);
  const directors = { ipv4: [DIRECTOR], ipv6: [DIRECTOR_6] };
  const strangers = { ipv4: [DIRECTOR, VIP], ipv6: [DIRECTOR_6, "2001:db8:20::2", "::"] };
  const ends = {
    sources: clients,
    destinations: { ipv4: [VIP, VIP, VIP, BACKEND_4], ipv6: [VIP_6, VIP_6, VIP_6, "2001:db8::11"] },
    ports,
  };
  const frame = eth(ROUTER_MAC, DIRECTOR_MAC);
  const build = (): Uint8Array => {
    if (random.chance(0.03)) return randomFrame(random, frame);
    if (random.chance(0.05)) return randomPacket(random, frame, ends);
    const from = random.chance(0.8) ? directors : strangers;
    const given = random.chance(0.05) ? { options: random.bytes(4) } : {};
    const marks = random.below(256);
    const outer = random.chance(0.5)
      ? frame.ipv4(random.pick(from.ipv4), BACKEND_4, { tos: marks, ...given })
      : frame.ipv6(random.pick(from.ipv6), "2001:db8:21::12", {
          versionClassFlow: (0x60000000 | (marks << 20)) >>> 0,
        });
    return randomPacket(random, outer, ends);
  };

  const seen = new Map<string, number>();
  const tally = agentReasons.map(() => [0n, 0n]);
  let index = 0;
  for (const input of packetsFrom(random, COUNT, build)) {
    const expected = expect(input);
    runOne(agent.testRun, input, expected);
    seen.set(expected.reason, (seen.get(expected.reason) ?? 0) + 1);
    const row = tally[agentReasons.findIndex(({ name }) => name === expected.reason)]!;
    row[0]! += 1n;
    row[1]! += BigInt(input.length);
    index += 1;
    if (index % BATCH === 0 || index === COUNT) {
      assert.deepEqual([...agent.counters()], tally.flat(), `counters at packet ${index}`);
    }
  }
  t.diagnostic(`agent: ${[...seen].map((pair) => pair.join(" ")).join(", ")}`);
  assertReached(seen, agentReasons, ["no_room", "internal", "nested", "restored"]);
});
