import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { entryUrl } from "./entry.ts";

const rows = [
  { caller: "file:///opt/carom/src/a/pool.ts", entry: "file:///opt/carom/src/a/worker.ts" },
  { caller: "file:///opt/carom/dist/a/pool.js", entry: "file:///opt/carom/dist/a/worker.js" },
  {
    caller: "file:///opt/my%20carom/dist/a/pool.js",
    entry: "file:///opt/my%20carom/dist/a/worker.js",
  },
];

for (const { caller, entry } of rows) {
  test(`entryUrl() beside ${caller}`, () => {
    assert.equal(entryUrl("./worker", caller).href, entry);
  });
}

test("entryUrl() of this folder's entry.ts exists", () => {
  assert.ok(existsSync(entryUrl("./entry", import.meta.url)));
});
