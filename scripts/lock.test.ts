import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type LockedPackage, missingFrom } from "./lock.ts";

test("package-lock.json holds every optional package (if not: npm run lock)", () => {
  const text = readFileSync(`${import.meta.dirname}/../package-lock.json`, "utf8");
  const lock = JSON.parse(text) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  assert.deepEqual(Object.keys(missingFrom(lock.packages)), []);
});

const rows = [
  { name: "@a/cli-darwin-arm64", machine: { os: ["darwin"], cpu: ["arm64"] } },
  { name: "a-win32-ia32-msvc", machine: { os: ["win32"], cpu: ["ia32"] } },
  { name: "a-linux-x64-musl", machine: { os: ["linux"], cpu: ["x64"], libc: ["musl"] } },
  { name: "@a/linux-arm-musleabihf", machine: { os: ["linux"], cpu: ["arm"], libc: ["musl"] } },
];

for (const { name, machine } of rows) {
  test(`missingFrom() tells the machine of ${name}`, () => {
    const packages = { "node_modules/a": { dev: true, optionalDependencies: { [name]: "1.2.3" } } };
    const entry = { version: "1.2.3", dev: true, optional: true, ...machine };
    assert.deepEqual(missingFrom(packages), { [`node_modules/${name}`]: entry });
  });
}

test("missingFrom() refuses a name that tells no machine", () => {
  assert.throws(() => missingFrom({ "node_modules/a": { optionalDependencies: { b: "1.0.0" } } }), {
    message: 'Cannot lock "b": its name does not tell for which machine it is',
  });
});
