import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

/** `npm run bench -- --clang ...args` where no program is found by its name. */
function benchWithoutClang(...args: readonly string[]) {
  const main = new URL("main.ts", import.meta.url).pathname;
  return spawnSync(process.execPath, [main, "--clang", ...args], {
    encoding: "utf8",
    env: { ...process.env, PATH: "" },
    timeout: 60_000,
  });
}

test("--clang says where there is no clang, and that is no failure", () => {
  const { status, stdout, stderr } = benchWithoutClang();
  assert.deepEqual(
    [status, stdout, stderr],
    [0, "clang that knows BPF is not installed: nothing is compared\n", ""],
  );
});

test("--clang --json says so too", () => {
  const { status, stdout } = benchWithoutClang("--json");
  assert.equal(status, 0);
  assert.deepEqual(JSON.parse(stdout), {
    clang: null,
    why: "clang that knows BPF is not installed: nothing is compared",
    comparisons: null,
  });
});
