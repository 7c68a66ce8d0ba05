/**
 * Agents by TC under a bulk of real TCP: what the client sends arrives unchanged although the kernel
 * joins segments on receipt (GRO) before the program sees them.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { AgentStatus } from "../api/agent.ts";
import { ask } from "../api/socket.ts";
import { socketPath } from "../daemon/instance.ts";
import { setOffloads } from "../kernel/ethtool.ts";
import { formatIp } from "../net/address.ts";
import { flowOwner } from "./flow-owner.ts";
import { backendNodes, type BackendNodeName, Lab } from "./lab.ts";
import { skip } from "./lab-fixture.ts";
import { addressOf } from "./topology.ts";

const options = { skip, timeout: 60_000 };
const VIPS = { 4: "203.0.113.200", 6: "2001:db8:f::200" } as const;
const ADDRESSES = {
  4: ["192.0.2.11", "192.0.2.12", "203.0.113.13"],
  6: ["2001:db8:2::11", "2001:db8:2::12", "2001:db8:3::13"],
} as const;
/** Families of the backends' addresses and of the VIP. */
interface Mix {
  readonly outer: 4 | 6;
  readonly inner: 4 | 6;
  readonly forwardings: readonly [string, string, string];
}

const mixes: readonly Mix[] = [
  { outer: 4, inner: 4, forwardings: ["ipip", "dscp", "gue"] },
  { outer: 6, inner: 6, forwardings: ["ipip", "dscp", "gre"] },
  { outer: 4, inner: 6, forwardings: ["ipip", "gre", "fou"] },
  { outer: 6, inner: 4, forwardings: ["ipip", "gue", "fou"] },
];

const SINK_PORT = 81;
const UPLOAD_BYTES = 4_000_000;
/** With the largest outer header. */
const FRAME_BYTES_MAX = 1514 + 60;

const directorText = ({ outer, inner, forwardings }: Mix): string => `
director: { interfaces: [eth0] }
pools:
  - name: web
    backends:
${forwardings
  .map(
    (forwarding, index) =>
      `      - { name: web-${index + 1}, address: "${ADDRESSES[outer][index]}", forwarding: ${forwarding} }`,
  )
  .join("\n")}
services: [{ name: web, vips: ["${VIPS[inner]}"], protocol: tcp, ports: [80-81], pool: web }]
`;

const agentText = ({ outer, inner }: Mix, node: BackendNodeName): string => `
agent:
  interfaces: [eth0]
  mode: tc
  vips: ["${VIPS[4]}", "${VIPS[6]}"]
  directors: [192.0.2.2, "2001:db8:2::2"]
  dscp: [${inner === outer ? `{ address: "${ADDRESSES[outer][backendNodes.indexOf(node)]}", vips: ["${VIPS[inner]}"] }` : ""}]
`;

/** Answers each connection with the hash of all it was sent. */
const SINK = `
  const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => {
    const hash = require("node:crypto").createHash("sha256");
    socket.on("data", (data) => hash.update(data));
    socket.on("end", () => socket.end(hash.digest("hex")));
  });
  server.listen(${SINK_PORT}, "::", () => console.log("listening"));`;

const UPLOAD = `
  const [host, localPort] = process.argv.slice(1);
  const socket = require("node:net").connect({ host, port: ${SINK_PORT}, localPort: Number(localPort) });
  socket.pipe(process.stdout);
  socket.on("error", (error) => console.log(error.code));
  socket.end(Buffer.alloc(${UPLOAD_BYTES}, "not all the same. "));`;

const SENT = createHash("sha256")
  .update(Buffer.alloc(UPLOAD_BYTES, "not all the same. "))
  .digest("hex");

async function statusOf(lab: Lab, node: BackendNodeName): Promise<AgentStatus> {
  const path = lab.network.nodes[node].path(socketPath("main", "agent"));
  return (await ask(path, "GET", "/v1/status")).body as AgentStatus;
}

/** Sends by a flow of the client's that is `backend`'s, and gives the answer. */
async function upload(lab: Lab, family: 4 | 6, backend: string): Promise<string> {
  const owner = await flowOwner(lab.config);
  const client = formatIp(addressOf(lab.network.topology.nodes.client, family));
  const vip = VIPS[family];
  let clientPort = 40_000;
  while (owner({ client, clientPort, vip, vipPort: SINK_PORT }) !== backend) clientPort += 1;
  const child = lab.network.nodes.client.spawn(
    [process.execPath, "--eval", UPLOAD, vip, String(clientPort)],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  return child.stdout === null ? "" : text(child.stdout);
}

for (const mix of mixes) {
  const { outer, inner, forwardings } = mix;
  const name = `agents by TC under a bulk of TCP: ${forwardings.join(", ")}, IPv${inner} by IPv${outer}`;
  test(name, options, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "carom-lab-"));
    const write = (file: string, content: string): string => {
      writeFileSync(join(folder, file), content);
      return join(folder, file);
    };
    const lab = await Lab.start({
      directorConfig: write("director.yaml", directorText(mix)),
      agentConfig: (node) => write(`${node}.yaml`, agentText(mix, node)),
    });
    try {
      for (const [index, node] of backendNodes.entries()) {
        const backend = lab.network.nodes[node];
        backend.exec(() => setOffloads("eth0", { gro: true }));
        const sink = backend.spawn([process.execPath, "--eval", SINK], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        if (sink.stdout !== null) await once(sink.stdout, "data");
        const forwarding = forwardings[index] ?? "";
        assert.equal(await upload(lab, inner, `web-${index + 1}`), SENT, forwarding);
        const { interfaces, reasons } = await statusOf(lab, node);
        assert.equal(interfaces[0]?.mode, "tc");
        const counted = reasons[forwarding === "dscp" ? "restored" : "decapsulated"];
        const { packets = 0, bytes = 0 } = counted ?? {};
        assert.ok(bytes > UPLOAD_BYTES, `${forwarding}: ${bytes} bytes`);
        const mean = Math.round(bytes / packets);
        t.diagnostic(`${forwarding}: ${packets} packets of ${mean} bytes`);
        // Else this proves little. Other tunnels the kernel joins only where it has devices for them.
        if (["ipip", "dscp"].includes(forwarding)) {
          assert.ok(mean > FRAME_BYTES_MAX, `${forwarding}: not joined, ${mean} bytes a packet`);
        }
      }
    } finally {
      await lab.close();
      rmSync(folder, { recursive: true });
    }
  });
}
