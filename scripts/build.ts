/** Compiles src/ to dist/, which is what we publish: JavaScript, source maps with the source inside. */
import { spawnSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";

const COMMAND = "dist/cli/main.js";

process.chdir(`${import.meta.dirname}/..`);
// A file renamed in src/ must not stay in the package.
rmSync("dist", { recursive: true, force: true });
const tsc = spawnSync("node_modules/.bin/tsc", ["--project", "tsconfig.build.json"], {
  stdio: "inherit",
});
process.exitCode = tsc.status ?? 1;
if (tsc.status === 0) chmodSync(COMMAND, 0o755);
