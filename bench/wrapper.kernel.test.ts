import assert from "node:assert/strict";
import { test } from "node:test";
import { XDP_PASS, XDP_TX } from "../src/bpf/xdp.ts";
import { skip, verdict } from "../src/kernel/kernel-fixture.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { TestRun } from "../src/kernel/test-run.ts";
import { BenchDirector } from "./director.ts";
import { frameOf, type Traffic } from "./traffic.ts";
import { FIRST_VIP, FOREIGN, plainWorld, stateOf } from "./world.ts";
import { Wrapper } from "./wrapper.ts";

const rows = ([4, 6] as const).flatMap((family) => [
  { family, way: "l2" as const, foreign: false, grows: 0 },
  { family, way: "ipip4" as const, foreign: false, grows: 20 },
  { family, way: "ipip6" as const, foreign: false, grows: 40 },
  { family, way: "l2" as const, foreign: true, grows: 0 },
]);

for (const { family, way, foreign, grows } of rows) {
  const packets = foreign ? "foreign packets" : way;
  test(`Wrapper.run() restores IPv${family} ${packets}: many runs end as one does`, {
    skip,
  }, async () => {
    using wrapper = new Wrapper(`ipv${family}`);
    using director = await BenchDirector.open(stateOf(plainWorld(family, way)));
    const single = new TestRun(director.program.fd, { maxPacket: 256 });
    for (const flows of [1, 1000, 2 ** 32 - 1]) {
      const destination = (foreign ? FOREIGN : FIRST_VIP)[family];
      const traffic: Traffic = { family, kind: "established", flows, destination, destinations: 1 };
      for (const runs of [1, 2, 10, 137]) {
        const after = wrapper.run(director.program.fd, traffic, runs);
        const frame = frameOf(traffic, after.flow);
        const expected = single.run(frame);
        assert.equal(after.verdict, expected.verdict);
        assert.equal(after.verdict, foreign ? XDP_PASS : XDP_TX);
        assert.deepEqual(after.packet.slice(), expected.packet.slice());
        assert.equal(after.packet.length, frame.length + grows);
        assert.ok(after.flow < flows);
      }
    }
  });
}

test("Wrapper.run() picks all flows, and times every stretch", { skip }, () => {
  using wrapper = new Wrapper("ipv4");
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
