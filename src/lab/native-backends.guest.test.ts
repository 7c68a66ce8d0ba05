/**
 * Backends without an agent, by native Linux devices, set up with what `carom backend-setup` prints. For
 * kernels that have those devices: `npm run test:kernels` brings one.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { text } from "node:stream/consumers";
import { backendSetup, backendUses } from "../plan/backend-setup.ts";
import { Lab } from "./lab.ts";
import { flowsTo, skip as withoutRoot, visit } from "./lab-fixture.ts";
import { addressOf } from "./topology.ts";

const MODULES = ["ipip", "sit", "ip_gre", "ip6_tunnel", "ip6_gre", "fou", "fou6"];
/** A guest has its processor emulated: everything takes ten times as long, and more. */
const VISIT_WITHIN_MS = 120_000;
const options = { skip: withoutRoot || modulesMissing(), timeout: 1_200_000 };

function modulesMissing(): string | false {
  try {
    execFileSync("modprobe", ["-a", "-n", ...MODULES], { stdio: "ignore" });
    return false;
  } catch {
    return `Linux ${release()} has not all of the modules ${MODULES.join(", ")}`;
  }
}

const ADDRESSES = {
  4: ["192.0.2.11", "192.0.2.12", "203.0.113.13"],
  6: ["2001:db8:2::11", "2001:db8:2::12", "2001:db8:3::13"],
} as const;

const mixes: readonly {
  readonly outer: 4 | 6;
  readonly forwardings: readonly [string, string, string];
  readonly inner: readonly (4 | 6)[];
}[] = [
  { outer: 4, forwardings: ["ipip", "gre", "fou"], inner: [4, 6] },
  { outer: 4, forwardings: ["l2", "dscp", "gue"], inner: [4] },
  { outer: 6, forwardings: ["ipip", "gre", "fou"], inner: [4, 6] },
  { outer: 6, forwardings: ["l2", "dscp", "gue"], inner: [6] },
];

const VIPS = { 4: "203.0.113.200", 6: "2001:db8:f::200" } as const;

for (const { outer, forwardings, inner } of mixes) {
  test(`${forwardings.join(", ")} over IPv${outer} to native devices`, options, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "carom-lab-"));
    const file = join(folder, "director.yaml");
    const backends = forwardings.map(
      (forwarding, index) =>
        `{ name: web-${index + 1}, address: "${ADDRESSES[outer][index]}", forwarding: ${forwarding} }`,
    );
    const vips = inner.map((family) => `"${VIPS[family]}"`).join(", ");
    writeFileSync(
      file,
      `director: { interfaces: [eth0] }
pools: [{ name: web, backends: [${backends.join(", ")}] }]
services: [{ name: web, vips: [${vips}], protocol: tcp, ports: [80], pool: web }]
`,
    );
    const lab = await Lab.start({ directorConfig: file, agentConfig: () => null });
    try {
      await Promise.all(lab.backends.map((backend) => setUp(lab, backend)));
      const flowTo = await flowsTo(lab);
      for (const family of inner) {
        for (const [index, forwarding] of forwardings.entries()) {
          const backend = `web-${index + 1}`;
          const said = await visit(lab, flowTo(backend, family), VISIT_WITHIN_MS);
          assert.equal(said, backend, `IPv${family} by ${forwarding}`);
          t.diagnostic(`IPv${family} by ${forwarding} over IPv${outer}: answered`);
        }
      }
    } finally {
      await lab.close();
      rmSync(folder, { recursive: true });
    }
  });
}

/** Runs on a backend's node what is printed for it. */
async function setUp(lab: Lab, { name, node }: Lab["backends"][number]): Promise<void> {
  const { nodes } = lab.network.topology;
  const directors = ([4, 6] as const).map((family) => addressOf(nodes.director, family));
  const use = backendUses(lab.config).find(({ members }) => members.includes(`web/${name}`));
  assert.ok(use);
  const printed = backendSetup(lab.config, use, { directors, interface: "eth0" });
  const [, commands = ""] = printed.split(/\n# 2\..*\n/);
  const child = lab.network.nodes[node].spawn(["sh", "-ec", commands], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [said, [code]] = await Promise.all([
    child.stderr === null ? "" : text(child.stderr),
    once(child, "exit") as Promise<[number | null]>,
  ]);
  assert.equal(code, 0, `${name}: ${said}`);
}
