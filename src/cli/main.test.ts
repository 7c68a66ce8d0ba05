/** The command as a user meets it: what it prints, where, and how it exits. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const top = join(import.meta.dirname, "../..");
const { version } = JSON.parse(readFileSync(join(top, "package.json"), "utf8")) as {
  readonly version: string;
};

const rows: readonly {
  name: string;
  args: readonly string[];
  code: number;
  stdout?: RegExp;
  stderr?: RegExp;
}[] = [
  { name: "the version", args: ["--version"], code: 0, stdout: new RegExp(`^${version}\n$`) },
  { name: "help", args: ["--help"], code: 0, stdout: /^Usage: carom [\s\S]*\n {2}check <file> / },
  { name: "help of a command", args: ["help", "check"], code: 0, stdout: /^Usage: carom check / },
  { name: "nothing asked", args: [], code: 2, stderr: /^Usage: carom / },
  {
    name: "a misspelt command",
    args: ["chekc"],
    code: 2,
    stderr: /unknown command 'chekc'\n\(Did you mean check\?\)/,
  },
  {
    name: "an unknown option",
    args: ["check", "--nope"],
    code: 2,
    stderr: /unknown option '--nope'/,
  },
  { name: "a missing argument", args: ["check"], code: 2, stderr: /missing required argument/ },
  { name: "check of a good file", args: ["check", "examples/director.yaml"], code: 0 },
  {
    name: "check of a missing file",
    args: ["check", "examples/none.yaml"],
    code: 2,
    stderr: /^examples\/none\.yaml: Cannot read the file: .*\n$/,
  },
  {
    name: "status where nothing runs",
    args: ["status", "--instance", "no-such"],
    code: 1,
    stderr:
      /^carom: No director or agent "no-such" runs; start it with carom director --config FILE or carom agent --config FILE\n$/,
  },
  {
    name: "a backend's state where no director runs",
    args: ["backend", "down", "web/web-1", "--instance", "no-such"],
    code: 1,
    stderr: /^carom: No director "no-such" runs; start it with carom director --config FILE\n$/,
  },
  ...[["status"], ["backend", "up", "web/web-1"], ["teardown"]].map((command) => ({
    name: `${command[0]} of a name that is no instance's`,
    args: [...command, "--instance", "../other"],
    code: 2,
    stderr: /An instance name is 1 to 32 of a-z, 0-9 and "-"/,
  })),
  {
    name: "check of a file that is no configuration",
    args: ["check", "package.json"],
    code: 2,
    stderr: /^(package\.json:\d+:\d+: .+\n)+$/,
  },
];

for (const { name, args, code, stdout = /^$/, stderr = /^$/ } of rows) {
  test(`carom: ${name}`, () => {
    const child = spawnSync(process.execPath, ["src/cli/main.ts", ...args], {
      cwd: top,
      encoding: "utf8",
    });
    assert.match(child.stderr, stderr);
    assert.match(child.stdout, stdout);
    assert.equal(child.status, code);
    const longest = Math.max(...child.stdout.split("\n").map((line) => line.length));
    assert.ok(longest < 80, `a line has ${longest} columns`);
  });
}

test("carom whose reader is gone ends as by SIGPIPE, without a word", () => {
  // The loop ends when nobody reads any more.
  const script = `trap "" PIPE; { while printf x; do :; done 2>/dev/null; "$@"; echo $? >&2; } | :`;
  const argv = ["-c", script, "sh", process.execPath, `${import.meta.dirname}/main.ts`, "--help"];
  const { stderr } = spawnSync("sh", argv, { encoding: "utf8" });
  assert.equal(stderr, "141\n");
});
