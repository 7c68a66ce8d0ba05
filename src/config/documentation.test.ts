/** docs/configuration.md names every key of the schema, and its example is what is printed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type * as z from "zod";
import { formatIssue } from "./issue.ts";
import { checkText } from "./parse.ts";
import { agentFile, backendSchema, directorFile, poolSchema, serviceSchema } from "./schema.ts";
import type { SecretReading } from "./secret.ts";

const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");

const readSecret = (): SecretReading => ({
  kind: "refused",
  reason: "its mode 0644 lets group or others at it; chmod 0600 it",
});

const sections: readonly (readonly [heading: string, schema: z.ZodObject])[] = [
  ["## director", directorFile.shape.director],
  ["## pools", poolSchema],
  ["### pools[].backends", backendSchema],
  ["## services", serviceSchema],
  ["## agent", agentFile.shape.agent],
];

for (const [heading, schema] of sections) {
  test(`docs/configuration.md has the keys of the schema under "${heading}"`, () => {
    const [, section = ""] = page.split(`\n${heading}\n`);
    const [, rows = ""] = section.split(/\n\| Key \|.*\n\|[-|]+\n/);
    const keys = Array.from(rows.split("\n\n")[0]?.matchAll(/^\| `(\w+)` \|/gm) ?? [], (m) => m[1]);
    assert.deepEqual(keys, Object.keys(schema.shape));
  });
}

test("docs/configuration.md shows what is printed", () => {
  const [, file = "", output = ""] = /```yaml\n(.*?)```.*?```\n(.*?)```/s.exec(page) ?? [];
  const lines = checkText(file, "director.yaml", readSecret).map(formatIssue);
  assert.deepEqual(lines, output.trimEnd().split("\n"));
});
