import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Pool } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { BackendStates } from "./backend-states.ts";

const folder = mkdtempSync(join(tmpdir(), "carom-states-"));
after(() => rmSync(folder, { recursive: true }));

const backend = (name: string): Pool["backends"][number] => ({
  name,
  address: ip("192.0.2.11"),
  weight: 10,
  forwarding: "l2",
});
const pools: readonly Pool[] = [{ name: "web", backends: [backend("web-1"), backend("web-2")] }];

test("BackendStates keeps what is not up over a restart, and forgets who is gone", () => {
  const file = join(folder, "deep", "states.json");
  const states = new BackendStates(pools, file);
  assert.deepEqual(
    [...(states.of("web") ?? [])],
    [
      ["web-1", "up"],
      ["web-2", "up"],
    ],
  );
  states.set("web", "web-2", "drained");
  const restarted = new BackendStates(pools, file);
  assert.equal(restarted.of("web")?.get("web-2"), "drained");
  assert.deepEqual(restarted.out(), ["web/web-2"]);
  assert.deepEqual(
    new BackendStates([{ name: "web", backends: [backend("web-1")] }], file).out(),
    [],
  );
  restarted.set("web", "web-2", "up");
  assert.equal(readFileSync(file, "utf8"), "{}\n");
  assert.equal(restarted.of("dns"), undefined);
});

for (const [name, text] of [
  ["nothing", ""],
  ["half a file", '{"web/web-1": "dra'],
  ["no object", "null"],
  ["an unknown state", '{"web/web-1": "asleep"}'],
] as const) {
  test(`BackendStates starts with all up from ${name}`, () => {
    const file = join(folder, "damaged.json");
    writeFileSync(file, text);
    assert.deepEqual(new BackendStates(pools, file).out(), []);
  });
}

test("BackendStates does not change a state it cannot keep", () => {
  const file = join(folder, "file", "states.json");
  const states = new BackendStates(pools, file);
  writeFileSync(join(folder, "file"), "");
  assert.throws(() => states.set("web", "web-1", "down"), { code: "EEXIST" });
  assert.equal(states.of("web")?.get("web-1"), "up");
});
