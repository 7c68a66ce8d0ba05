/** The runner over small trees of its own: what it prints, in which order, and how it exits. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "carom-runner-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const passes = 'test("passes", () => undefined);';
const skips = 'test("skips", { skip: "needs root" }, () => undefined);';

const rows: readonly {
  name: string;
  files: Readonly<Record<string, string>>;
  args?: readonly string[];
  ci?: boolean;
  code: number;
  /** Somewhere in what it prints. */
  prints: readonly RegExp[];
  last: string;
}[] = [
  {
    name: "all pass",
    files: { "src/a.test.ts": passes + passes, "scripts/b.test.ts": passes },
    code: 0,
    prints: [/^ok +\d+\.\d\d s {2}src\/a\.test\.ts \(2\)$/m],
    last: "3 passed, 0 failed, 0 skipped",
  },
  {
    name: "a failure, with its difference, place and output",
    files: {
      "src/a.test.ts": `${passes}test("fails", () => { console.log("seen"); assert.equal("on", "off"); });`,
    },
    code: 1,
    prints: [
      /^FAIL .* src\/a\.test\.ts \(2\)$/m,
      /^FAILED src\/a\.test\.ts: fails\n[\s\S]*'on' !== 'off'[\s\S]*src\/a\.test\.ts:/m,
      /^OUTPUT of src\/a\.test\.ts\n {2}seen$/m,
    ],
    last: "1 passed, 1 failed, 0 skipped",
  },
  {
    name: "a test within others counts once, by its whole name",
    files: {
      "src/a.test.ts":
        'test("outer", async (t) => { await t.test("good", () => undefined); await t.test("bad", () => assert.fail("why")); });' +
        'describe("suite", () => { test("inner", () => undefined); });',
    },
    code: 1,
    prints: [/^FAILED src\/a\.test\.ts: outer > bad\n {2}AssertionError.*why/m],
    last: "2 passed, 1 failed, 0 skipped",
  },
  {
    name: "an error with a cause",
    files: {
      "src/a.test.ts":
        'test("fails", () => { throw new Error("above", { cause: new Error("below") }); });',
    },
    code: 1,
    prints: [/Error: above[\s\S]*\[cause\]: Error: below/],
    last: "0 passed, 1 failed, 0 skipped",
  },
  {
    name: "a skip, with its reason",
    files: { "src/a.test.ts": passes + skips },
    code: 0,
    prints: [/^Skipped\n {2}src\/a\.test\.ts: skips: needs root$/m],
    last: "1 passed, 0 failed, 1 skipped",
  },
  {
    name: "a skip in CI",
    files: { "src/a.test.ts": passes + skips },
    ci: true,
    code: 1,
    prints: [/^FAILED src\/a\.test\.ts: skips\n {2}skipped, which CI does not allow: needs root$/m],
    last: "1 passed, 1 failed, 0 skipped",
  },
  {
    name: "a file without tests",
    files: { "src/a.test.ts": "" },
    code: 1,
    prints: [/^FAILED src\/a\.test\.ts: \(the file\)\n {2}has no tests/m],
    last: "0 passed, 1 failed, 0 skipped",
  },
  {
    name: "a file that does not load",
    files: { "src/a.test.ts": 'throw new Error("at load");' },
    code: 1,
    prints: [/at load/],
    last: "0 passed, 1 failed, 0 skipped",
  },
  {
    name: "a file that ends in the middle",
    files: {
      "src/a.test.ts": `${passes}test("quits", async () => {
        // Events are written when the loop turns.
        await new Promise((resolve) => setImmediate(resolve));
        process.kill(process.pid, "SIGKILL");
      });`,
    },
    code: 1,
    prints: [/\(the file\)\n {2}was ended by SIGKILL, while running: quits$/m],
    last: "1 passed, 1 failed, 0 skipped",
  },
  {
    name: "kinds in order, kernel and end-to-end after unit",
    files: { "src/a.e2e.test.ts": passes, "src/b.kernel.test.ts": passes, "src/c.test.ts": passes },
    args: ["src/"],
    code: 0,
    prints: [/src\/c\.test\.ts[\s\S]*src\/b\.kernel\.test\.ts[\s\S]*src\/a\.e2e\.test\.ts/],
    last: "3 passed, 0 failed, 0 skipped",
  },
  {
    name: "one kind",
    files: { "src/a.e2e.test.ts": passes, "src/b.kernel.test.ts": passes, "src/c.test.ts": passes },
    args: ["kernel"],
    code: 0,
    prints: [/^ok .* src\/b\.kernel\.test\.ts \(1\)$/m],
    last: "1 passed, 0 failed, 0 skipped",
  },
  {
    name: "parts of paths",
    files: { "src/a.test.ts": passes, "src/b.test.ts": passes, "src/c.test.ts": passes },
    args: ["unit", "/a", "/b"],
    code: 0,
    prints: [/a\.test\.ts/, /b\.test\.ts/],
    last: "2 passed, 0 failed, 0 skipped",
  },
  {
    name: "a part no path has",
    files: { "src/a.test.ts": passes },
    args: ["unit", "nothing", "else"],
    code: 2,
    prints: [],
    last: 'No test file has "nothing" or "else" in its path',
  },
];

for (const [
  index,
  { name, files, args = ["unit"], ci = false, code, prints, last },
] of rows.entries()) {
  test(`test.ts reports ${name}`, () => {
    const tree = join(folder, String(index));
    writeTree(tree, files);
    const child = spawnSync(process.execPath, [join(import.meta.dirname, "test.ts"), ...args], {
      cwd: tree,
      encoding: "utf8",
      env: { ...process.env, CI: ci ? "true" : "" },
    });
    const printed = child.stdout + child.stderr;
    for (const pattern of prints) assert.match(printed, pattern);
    assert.equal(printed.trimEnd().split("\n").at(-1), last);
    assert.equal(child.status, code);
  });
}

function writeTree(tree: string, files: Readonly<Record<string, string>>): void {
  const imports =
    'import assert from "node:assert/strict"; import { describe, test } from "node:test";\n';
  for (const [file, code] of Object.entries({ "package.json": '{ "type": "module" }', ...files })) {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), file.endsWith(".ts") ? imports + code : code);
  }
}
