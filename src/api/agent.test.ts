import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { agentReasons } from "../datapath/reasons.ts";
import { agentApi, type AgentStatus } from "./agent.ts";
import { trafficOf } from "./traffic.ts";

const status: AgentStatus = {
  instance: "main",
  pid: 4711,
  interfaces: [{ name: "eth0", mode: "native", fallback: null, without: [] }],
  vips: ["192.0.2.10"],
  directors: ["198.51.100.2"],
  reasons: { decapsulated: trafficOf({ packets: 1284n, bytes: 96_300n }) },
};

test("GET /v1/status gives what the agent says of itself", async () => {
  const response = await agentApi(() => status).request("/v1/status");
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), status);
});

test("trafficOf() gives numbers, exact to 2^53, and nothing for no counter", () => {
  const most = 2n ** 53n;
  assert.deepEqual(trafficOf({ packets: most, bytes: most - 1n }), {
    packets: Number.MAX_SAFE_INTEGER + 1,
    bytes: Number.MAX_SAFE_INTEGER,
  });
  assert.deepEqual(trafficOf(undefined), { packets: 0, bytes: 0 });
});

test("any other route is a problem that names it", async () => {
  const response = await agentApi(() => status).request("/v1/vips", { method: "PUT" });
  assert.equal(response.status, 404);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.deepEqual(await response.json(), { status: 404, detail: "There is no PUT /v1/vips" });
});

test("docs/agent.md has every reason, and says of each whether it is normal", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/agent.md"), "utf8");
  const table = text.slice(text.indexOf("| Reason |"), text.indexOf("The socket is for root"));
  const documented = new Map<string, boolean>();
  for (const [, names = "", normal] of table.matchAll(/^\| (`.+?`) \|.*\| (yes|no) \|$/gm)) {
    for (const name of names.split(", "))
      documented.set(name.replaceAll("`", ""), normal === "yes");
  }
  assert.deepEqual(
    documented,
    new Map<string, boolean>(agentReasons.map(({ name, normal }) => [name, normal])),
  );
});
