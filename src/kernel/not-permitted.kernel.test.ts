import assert from "node:assert/strict";
import { test } from "node:test";
import { probeFeatures } from "./features.ts";
import { waitGracePeriod } from "./grace-period.ts";
import { fault, mapSpec, skip, verdict } from "./kernel-fixture.ts";
import { createMap } from "./maps.ts";
import { loadProgram } from "./programs.ts";

const NOBODY = 65_534;
const MISSING =
  /: missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON; run as root, set "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON" .* "setpriv --inh-caps \+bpf,\+net_admin,\+perfmon /;

/** Runs `work` without the effective capabilities of root (capabilities(7), effect of user id changes). */
function asNobody(work: () => void): void {
  process.seteuid?.(NOBODY);
  try {
    work();
  } finally {
    process.seteuid?.(0);
  }
}

// The change of user is what makes this need root itself, not its capabilities alone.
const withRoot = process.getuid?.() === 0 ? skip : "needs root to stop being it";

for (const { name, attempt } of [
  { name: "createMap()", attempt: () => createMap(mapSpec()) },
  { name: "loadProgram()", attempt: () => loadProgram(verdict(2), () => 0) },
  { name: "waitGracePeriod()", attempt: () => waitGracePeriod() },
  { name: "probeFeatures()", attempt: () => probeFeatures() },
]) {
  test(`${name} without privileges says which and how to get them`, { skip: withRoot }, () => {
    asNobody(() => assert.throws(attempt, fault("NOT_PERMITTED", MISSING)));
  });
}
