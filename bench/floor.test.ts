import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compile } from "../src/bpf/program.ts";
import { floorProgram } from "./floor.ts";

/** Rows such as `| l2 | IPv4 | 132 |`. */
const listed = readFileSync(new URL("../docs/benchmarks.md", import.meta.url), "utf8");

for (const { way, name } of [
  { way: "l2", name: "l2" },
  { way: "ipip4", name: "ipip over IPv4" },
  { way: "ipip6", name: "ipip over IPv6" },
] as const) {
  for (const family of [4, 6] as const) {
    test(`the floor of ${name} for IPv${family} is no larger than listed`, () => {
      const size = compile(floorProgram(family, way)).instructions.length / 8;
      const [, most] =
        new RegExp(`^\\| ${name} \\| IPv${family} \\| (\\d+) \\|$`, "m").exec(listed) ?? [];
      assert.ok(most !== undefined, "docs/benchmarks.md does not list it");
      assert.ok(
        size <= Number(most),
        `it has ${size} instructions, docs/benchmarks.md says ${most}`,
      );
    });
  }
}
