import assert from "node:assert/strict";
import { test } from "node:test";
import { XDP_PASS, XDP_TX } from "../src/bpf/xdp.ts";
import { skip, verdict } from "../src/kernel/kernel-fixture.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { TestRun } from "../src/kernel/test-run.ts";
import { BenchDirector } from "./director.ts";
import { frameOf, shapeOf, type Traffic } from "./traffic.ts";
import {
  FIRST_VIP,
  FOREIGN,
  plainWorld,
  stateOf,
  type Way,
  variantOf,
  type World,
} from "./world.ts";
import { Wrapper } from "./wrapper.ts";

const to = (family: 4 | 6, given: Partial<Traffic> = {}): Traffic => ({
  family,
  kind: "established",
  flows: 1,
  destination: FIRST_VIP[family],
  destinations: 1,
  ...given,
});

interface Row {
  readonly name: string;
  readonly way: Way;
  readonly world?: Partial<World>;
  readonly traffic?: Partial<Traffic>;
  /** Bytes that the frame has more afterwards. */
  readonly grows: number;
  readonly families?: readonly (4 | 6)[];
}

const BOTH = [4, 6] as const;

const rows: readonly Row[] = [
  { name: "l2", way: "l2", grows: 0 },
  { name: "ipip over IPv4", way: "ipip4", grows: 20 },
  { name: "ipip over IPv6", way: "ipip6", grows: 40 },
  { name: "gre over IPv6", way: "gre6", grows: 44 },
  { name: "gue over IPv4", way: "gue4", grows: 32 },
  { name: "dscp, IPv4", way: "dscp4", traffic: { isReaddressed: true }, grows: 0, families: [4] },
  { name: "dscp, IPv6", way: "dscp6", traffic: { isReaddressed: true }, grows: 0, families: [6] },
  {
    name: "UDP by dscp",
    way: "dscp4",
    traffic: { isReaddressed: true, kind: "udp" },
    grows: 0,
    families: [4],
  },
  { name: "a tag that stays one", way: "l2", world: { tags: 1 }, traffic: { tags: 1 }, grows: 0 },
  {
    name: "two tags behind a tunnel",
    way: "ipip4",
    world: { tags: 2 },
    traffic: { tags: 2 },
    grows: 20,
  },
  { name: "options", way: "ipip4", traffic: { hasOptions: true }, grows: 20 },
];
for (const { name, way, world: given, traffic, grows, families = BOTH } of rows) {
  for (const family of families) {
    test(`Wrapper.run() restores IPv${family} packets, ${name}: many runs end as one does`, {
      skip,
    }, async () => {
      const world: World = { ...plainWorld(family, way), ...given };
      await compareRuns(world, to(family, traffic), { verdict: XDP_TX, grows });
    });
  }
}

for (const family of [4, 6] as const) {
  test(`Wrapper.run() restores IPv${family} packets that are not ours`, { skip }, async () => {
    const foreign = to(family, { destination: FOREIGN[family] });
    await compareRuns(plainWorld(family, "l2"), foreign, { verdict: XDP_PASS, grows: 0 });
  });
}

async function compareRuns(
  world: World,
  traffic: Traffic,
  expects: { readonly verdict: number; readonly grows: number },
): Promise<void> {
  using wrapper = new Wrapper(shapeOf(traffic));
  using director = await BenchDirector.open(stateOf(world), { variant: variantOf(world) });
  const single = new TestRun(director.program.fd, { maxPacket: 256 });
  for (const flows of [1, 1000, 2 ** 32 - 1]) {
    for (const runs of [1, 2, 10, 137]) {
      const after = wrapper.run(director.program.fd, { ...traffic, flows }, runs);
      const frame = frameOf(traffic, after.flow);
      const expected = single.run(frame);
      assert.equal(after.verdict, expected.verdict);
      assert.equal(after.verdict, expects.verdict);
      assert.deepEqual(after.packet.slice(), expected.packet.slice());
      assert.equal(after.packet.length, frame.length + expects.grows);
      assert.ok(after.flow < flows);
    }
  }
}

test("Wrapper.run() picks all flows, and times every stretch", { skip }, () => {
  using wrapper = new Wrapper(shapeOf(to(4, { kind: "udp" })));
  using pass = loadProgram(verdict(XDP_PASS), () => assert.fail("no map in it"));
  const traffic: Traffic = {
    family: 4,
    kind: "udp",
    flows: 5,
    destination: FIRST_VIP[4],
    destinations: 3,
  };
  const seen = new Set<number>();
  for (let run = 0; run < 100; run += 1) {
    const { flow, verdict, packet } = wrapper.run(pass.fd, traffic, 3);
    assert.equal(verdict, XDP_PASS);
    assert.deepEqual(packet.slice(), frameOf(traffic, flow), "untouched");
    seen.add(flow);
  }
  assert.equal(seen.size, 5);
  const { stretchesNs } = wrapper.run(pass.fd, traffic, 100_000);
  assert.ok(stretchesNs.length >= 100 && stretchesNs.length < 1024, String(stretchesNs.length));
  assert.ok(stretchesNs.every((ns) => ns > 0));
});
