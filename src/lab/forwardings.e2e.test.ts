/**
 * Every forwarding through real daemons and real TCP, three different ones mixed in one pool: the answer
 * comes, from the VIP, and how the packet travelled is in the agents' counters.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { AgentStatus } from "../api/agent.ts";
import { ask } from "../api/socket.ts";
import { socketPath } from "../daemon/instance.ts";
import { backendNodes, type BackendNodeName, Lab } from "./lab.ts";
import { flowsTo, skip, visit } from "./lab-fixture.ts";

const options = { skip, timeout: 60_000 };
const VIPS = { 4: "203.0.113.200", 6: "2001:db8:f::200" } as const;
const ADDRESSES = {
  4: ["192.0.2.11", "192.0.2.12", "203.0.113.13"],
  6: ["2001:db8:2::11", "2001:db8:2::12", "2001:db8:3::13"],
} as const;

interface Mix {
  readonly outer: 4 | 6;
  readonly forwardings: readonly [string, string, string];
  /** Families of the service. */
  readonly inner: readonly (4 | 6)[];
}

const mixes: readonly Mix[] = [
  { outer: 4, forwardings: ["gre", "gue", "fou"], inner: [4, 6] },
  { outer: 6, forwardings: ["fou", "ipip", "gue"], inner: [4, 6] },
  { outer: 4, forwardings: ["dscp", "l2", "dscp"], inner: [4] },
  { outer: 6, forwardings: ["l2", "dscp", "dscp"], inner: [6] },
  { outer: 6, forwardings: ["gue", "dscp", "gre"], inner: [6] },
];

const directorText = ({ outer, forwardings, inner }: Mix): string => `
director: { interfaces: [eth0], tunnels: { udpChecksum: true } }
pools:
  - name: web
    backends:
${forwardings
  .map(
    (forwarding, index) =>
      `      - { name: web-${index + 1}, address: "${ADDRESSES[outer][index]}", forwarding: ${forwarding} }`,
  )
  .join("\n")}
services:
  - { name: web, vips: [${inner.map((family) => `"${VIPS[family]}"`).join(", ")}], protocol: tcp, ports: [80-89], pool: web, hashKey: five-tuple }
`;

const agentText = ({ outer, inner }: Mix, node: BackendNodeName): string => `
agent:
  interfaces: [eth0]
  vips: ["${VIPS[4]}", "${VIPS[6]}"]
  directors: [192.0.2.2, "2001:db8:2::2"]
  dscp: [${inner.includes(outer) ? `{ address: "${ADDRESSES[outer][backendNodes.indexOf(node)]}", vips: ["${VIPS[outer]}"] }` : ""}]
`;

for (const mix of mixes) {
  const { outer, forwardings, inner } = mix;
  test(`${forwardings.join(", ")} over IPv${outer}, in one pool`, options, async () => {
    const folder = mkdtempSync(join(tmpdir(), "carom-lab-"));
    const write = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const lab = await Lab.start({
      directorConfig: write("director.yaml", directorText(mix)),
      agentConfig: (node) => write(`${node}.yaml`, agentText(mix, node)),
    });
    try {
      const flowTo = await flowsTo(lab);
      for (const family of inner) {
        for (const backend of ["web-1", "web-2", "web-3"]) {
          assert.equal(await visit(lab, flowTo(backend, family)), backend, `IPv${family}`);
        }
      }
      for (const [index, node] of backendNodes.entries()) {
        const path = lab.network.nodes[node].path(socketPath("main", "agent"));
        const { reasons } = (await ask(path, "GET", "/v1/status")).body as AgentStatus;
        const { decapsulated, restored } = reasons;
        const forwarding = forwardings[index];
        const isTunnel = forwarding !== "l2" && forwarding !== "dscp";
        assert.equal((decapsulated?.packets ?? 0) > 0, isTunnel, `${node} by ${forwarding}`);
        assert.equal(
          (restored?.packets ?? 0) > 0,
          forwarding === "dscp",
          `${node} by ${forwarding}`,
        );
      }
      const { reasons, received } = await lab.status();
      assert.equal(reasons["too_big"]?.packets, 0);
      assert.ok(received.packets > 0);
    } finally {
      await lab.close();
      rmSync(folder, { recursive: true });
    }
  });
}
