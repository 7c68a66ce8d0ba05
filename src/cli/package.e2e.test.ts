/**
 * What we publish, as a user gets it: built, packed, installed in an empty folder, run from there.
 * Needs npm and the registry, for the dependencies.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";

const top = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "carom-package-"));
const carom = join(folder, "node_modules/.bin/carom");
const installed = join(folder, "node_modules/carom");

// The command begins with `#!/usr/bin/env node`: it needs ours, whatever the machine has.
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}` };

/** Stdout of a command. */
const run = (cwd: string, file: string, ...args: string[]): string =>
  execFileSync(file, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

before(() => {
  run(top, process.execPath, "scripts/build.ts");
  const [{ filename }] = JSON.parse(
    run(top, "npm", "pack", "--json", "--loglevel=error", `--pack-destination=${folder}`),
  ) as [{ readonly filename: string }];
  writeFileSync(join(folder, "package.json"), "{}");
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  run(folder, "npm", "install", ...quiet, `./${filename}`);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test("the package prints its version", () => {
  const { version } = JSON.parse(readFileSync(join(top, "package.json"), "utf8")) as {
    readonly version: string;
  };
  assert.equal(run(folder, carom, "--version"), `${version}\n`);
});

test("the package checks the examples it brings", () => {
  const examples = readdirSync(join(installed, "examples"));
  const files = examples.filter((file) => file.endsWith(".yaml"));
  assert.ok(files.length > 0);
  for (const file of files) {
    cpSync(join(installed, "examples", file), join(folder, file));
    assert.equal(run(folder, carom, "check", file), "");
  }
});

test("the package brings a source map for each file, and no tests", () => {
  const files = readdirSync(join(installed, "dist"), { recursive: true, encoding: "utf8" });
  const code = files.filter((file) => file.endsWith(".js"));
  assert.ok(code.includes("cli/main.js"));
  assert.deepEqual(
    code.filter((file) => !files.includes(`${file}.map`)),
    [],
  );
  assert.deepEqual(
    files.filter((file) => /\.test\.|-fixture\.|\.ts$/.test(file)),
    [],
  );
});

test("the package brings no development dependencies", () => {
  const packages = readdirSync(join(folder, "node_modules"));
  assert.deepEqual(
    packages.filter((name) => ["typescript", "carom-node"].includes(name)),
    [],
  );
});
