import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { vip } from "../model/service-fixture.ts";
import { type AgentState, nothingChanged, readAgentState, writeAgentState } from "./agent-state.ts";

const folder = mkdtempSync(join(tmpdir(), "carom-agent-state-"));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, "run/agent.json");

const state: AgentState = {
  sysctls: [{ key: ["net", "ipv4", "conf", "eth0.10", "arp_ignore"], original: "0", set: "1" }],
  vips: [vip("203.0.113.200"), vip("2001:db8:f::200"), vip("198.18.0.0/15")],
};

test("readAgentState() gives what writeAgentState() wrote, and nothing without a file", () => {
  assert.deepEqual(readAgentState(file), nothingChanged);
  writeAgentState(file, state);
  assert.deepEqual(readAgentState(file), state);
  assert.deepEqual(readdirSync(join(folder, "run")), ["agent.json"]);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeAgentState(file, nothingChanged);
  assert.deepEqual(readdirSync(join(folder, "run")), []);
});

const sysctl = (key: readonly string[]): string =>
  JSON.stringify({ version: 1, sysctls: [{ key, original: "0", set: "1" }], vips: [] });

const broken: readonly (readonly [name: string, text: string])[] = [
  ["an empty file", ""],
  ["another version", '{ "version": 2, "sysctls": [], "vips": [] }'],
  ["no address or prefix", '{ "version": 1, "sysctls": [], "vips": ["eth0"] }'],
  ["a sysctl that no agent sets", sysctl(["kernel", "ipv4", "conf", "eth0", "modprobe"])],
  ["a sysctl outside /proc/sys", sysctl(["net", "ipv4", "conf", "..", "arp_ignore"])],
];
for (const [name, text] of broken) {
  test(`readAgentState() refuses ${name}, and says what to do`, () => {
    const bad = join(folder, "bad.json");
    writeFileSync(bad, text);
    assert.throws(
      () => readAgentState(bad),
      (error: Error) =>
        error.message.startsWith(`Cannot read what an agent changed on this host from ${bad}: `) &&
        error.message.endsWith("put it back by hand, then remove the file"),
    );
  });
}
