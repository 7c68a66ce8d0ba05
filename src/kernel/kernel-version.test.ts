import assert from "node:assert/strict";
import { test } from "node:test";
import { isAtLeast, parseKernelVersion } from "./kernel-version.ts";

for (const { release, version } of [
  { release: "6.18.44-fc-v595", version: { major: 6, minor: 18 } },
  { release: "6.1.0-18-amd64", version: { major: 6, minor: 1 } },
  { release: "7.0-rc3", version: { major: 7, minor: 0 } },
  { release: "10.20.30+", version: { major: 10, minor: 20 } },
]) {
  test(`parseKernelVersion() of ${release}`, () => {
    assert.deepEqual(parseKernelVersion(release), version);
  });
}

test("parseKernelVersion() refuses what is no version", () => {
  assert.throws(() => parseKernelVersion("linux"), /Cannot read kernel release "linux"/);
});

for (const { version, than, wanted } of [
  { version: "6.6", than: [6, 6], wanted: true },
  { version: "6.10", than: [6, 6], wanted: true },
  { version: "6.5", than: [6, 6], wanted: false },
  { version: "7.0", than: [6, 6], wanted: true },
  { version: "5.15", than: [6, 1], wanted: false },
] as const) {
  test(`isAtLeast(): ${version} is ${wanted ? "" : "not "}at least ${than.join(".")}`, () => {
    assert.equal(isAtLeast(parseKernelVersion(version), than[0], than[1]), wanted);
  });
}
