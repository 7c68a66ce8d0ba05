import assert from "node:assert/strict";
import { test } from "node:test";
import { violationsIn } from "./house.ts";

const rows: readonly { name: string; path: string; code: string; violation: string | null }[] = [
  {
    name: "downward",
    path: "src/plan/plan.ts",
    code: 'import { ip } from "../net/address.ts";',
    violation: null,
  },
  {
    name: "within a module",
    path: "src/datapath/director/entry.ts",
    code: 'import { a } from "../reference/a.ts";',
    violation: null,
  },
  {
    name: "sideways among base modules",
    path: "src/packet/headers.ts",
    code: 'import { struct } from "../bpf/layout.ts";',
    violation: null,
  },
  {
    name: "a packet in the builder",
    path: "src/bpf/program.ts",
    code: 'import { Tcp } from "../packet/headers.ts";',
    violation: "src/bpf/program.ts: imports ../packet/headers.ts, bpf may not know packet",
  },
  {
    name: "upward",
    path: "src/net/address.ts",
    code: 'import { plan } from "../plan/plan.ts";',
    violation: "src/net/address.ts: imports ../plan/plan.ts, net may not know plan",
  },
  {
    name: "upward, by type only, over several lines",
    path: "src/model/model.ts",
    code: 'import type {\n  Plan,\n} from "../plan/plan.ts";',
    violation: "src/model/model.ts: imports ../plan/plan.ts, model may not know plan",
  },
  {
    name: "upward, dynamically",
    path: "src/daemon/daemon.ts",
    code: 'const { lab } = await import("../lab/lab.ts");',
    violation: "src/daemon/daemon.ts: imports ../lab/lab.ts, daemon may not know lab",
  },
  {
    name: "upward, re-exported",
    path: "src/bpf/index.ts",
    code: 'export { Vip } from "../model/model.ts";',
    violation: "src/bpf/index.ts: imports ../model/model.ts, bpf may not know model",
  },
  {
    name: "sideways among effects",
    path: "src/health/health.ts",
    code: 'import { apply } from "../apply/apply.ts";',
    violation: "src/health/health.ts: imports ../apply/apply.ts, health may not know apply",
  },
  {
    name: "out of src",
    path: "src/cli/main.ts",
    code: 'import { run } from "../../scripts/task.ts";',
    violation: "src/cli/main.ts: imports ../../scripts/task.ts, cli may not know scripts",
  },
  {
    name: "upward in a unit test",
    path: "src/net/address.test.ts",
    code: 'import { plan } from "../plan/plan.ts";',
    violation: "src/net/address.test.ts: imports ../plan/plan.ts, net may not know plan",
  },
  {
    name: "upward in an end-to-end test",
    path: "src/datapath/forward.e2e.test.ts",
    code: 'import { lab } from "../lab/lab.ts";',
    violation: null,
  },
  {
    name: "an import in a comment",
    path: "src/net/address.ts",
    code: '/** import { plan } from "../plan/plan.ts" */\n// from "../plan/plan.ts"',
    violation: null,
  },
  {
    name: "the FFI in its file",
    path: "src/kernel/libc.ts",
    code: 'import koffi from "koffi";',
    violation: null,
  },
  {
    name: "the FFI elsewhere",
    path: "src/kernel/maps.ts",
    code: 'import koffi from "koffi";',
    violation: "src/kernel/maps.ts: imports koffi, only src/kernel/libc.ts may",
  },
  {
    name: "the clock in an effect",
    path: "src/health/probe.ts",
    code: "const nowMs = Date.now();",
    violation: "src/health/probe.ts: reads Date.now, it must be given what it says",
  },
  {
    name: "the environment in an effect",
    path: "src/fleet/fleet.ts",
    code: 'const home = process.env["HOME"];',
    violation: "src/fleet/fleet.ts: reads process.env, it must be given what it says",
  },
  {
    name: "the clock at an edge",
    path: "src/daemon/daemon.ts",
    code: "const clock = { now: () => performance.now() };",
    violation: null,
  },
  {
    name: "the clock in a test",
    path: "src/health/probe.test.ts",
    code: "const nowMs = Date.now();",
    violation: null,
  },
  {
    name: "a vague file",
    path: "src/net/utils.ts",
    code: "",
    violation: 'src/net/utils.ts: "utils.ts" does not say what it holds',
  },
  {
    name: "a vague file's test",
    path: "src/net/types.test.ts",
    code: "",
    violation: 'src/net/types.test.ts: "types.test.ts" does not say what it holds',
  },
  {
    name: "a vague folder within a module",
    path: "src/net/common/ip.ts",
    code: "",
    violation: 'src/net/common/ip.ts: "common" does not say what it holds',
  },
  {
    name: "a folder nobody declared",
    path: "src/lib/ip.ts",
    code: "",
    violation: "src/lib/ip.ts: is in no folder the import table knows, add it to scripts/house.ts",
  },
  {
    name: "a file beside the modules",
    path: "src/index.ts",
    code: "",
    violation: "src/index.ts: is in no folder the import table knows, add it to scripts/house.ts",
  },
  {
    name: "camel case",
    path: "src/net/ipAddress.ts",
    code: "",
    violation: "src/net/ipAddress.ts: is not kebab-case",
  },
];

for (const { name, path, code, violation } of rows) {
  test(`violationsIn() ${violation === null ? "allows" : "reports"} ${name}`, () => {
    const expected = violation === null ? [] : [violation];
    assert.deepEqual(violationsIn(new Map([[path, code]])), expected);
  });
}
