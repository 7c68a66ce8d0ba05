import assert from "node:assert/strict";
import { release } from "node:os";
import { test } from "node:test";
import { ProgramType } from "../bpf/image.ts";
import { hasHelper, probeFeatures } from "./features.ts";
import { skip } from "./kernel-fixture.ts";
import { isAtLeast, parseKernelVersion } from "./kernel-version.ts";

test("probeFeatures() finds at least what this version brought", { skip }, () => {
  const features = probeFeatures();
  const version = parseKernelVersion(release());
  assert.equal(features.release, release());
  assert.deepEqual(features.version, version);
  // Distributions may add to a version, not take away.
  if (isAtLeast(version, 6, 6)) assert.equal(features.cpuV4, true);
  if (isAtLeast(version, 6, 6)) assert.equal(features.tcx, true);
  // Both need the processor's JIT compiler; those of x86-64 and arm64 have them.
  if (isAtLeast(version, 6, 10)) assert.equal(features.target.arenas, true);
  if (isAtLeast(version, 6, 12)) assert.equal(features.target.fastCalls, true);
  assert.equal(features.perCpuArrayInlined, isAtLeast(version, 6, 10));
});

const { BPF_PROG_TYPE_XDP: XDP, BPF_PROG_TYPE_SCHED_CLS: TC } = ProgramType;

for (const { name, type, id, wanted } of [
  { name: "bpf_ktime_get_ns in XDP", type: XDP, id: 5, wanted: true },
  {
    name: "bpf_map_lookup_elem in XDP, whose arguments a probe has not",
    type: XDP,
    id: 1,
    wanted: true,
  },
  { name: "bpf_xdp_adjust_head in XDP", type: XDP, id: 44, wanted: true },
  { name: "bpf_xdp_adjust_head in TC", type: TC, id: 44, wanted: false },
  { name: "bpf_skb_store_bytes in XDP", type: XDP, id: 9, wanted: false },
  { name: "bpf_skb_store_bytes in TC", type: TC, id: 9, wanted: true },
  { name: "a helper nobody has written", type: XDP, id: 99_999, wanted: false },
]) {
  test(`hasHelper() says ${wanted ? "yes" : "no"} to ${name}`, { skip }, () => {
    assert.equal(hasHelper(type, id), wanted);
  });
}
