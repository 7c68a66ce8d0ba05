import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkConfig, ConfigError, readAgentConfig, readDirectorConfig } from "./read.ts";

const folder = mkdtempSync(join(tmpdir(), "carom-config-"));
after(() => rmSync(folder, { recursive: true }));
const example = (name: string): string =>
  fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

function fileOf(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

test("readDirectorConfig() and readAgentConfig() read the examples", async () => {
  assert.equal((await readDirectorConfig(example("director.yaml"))).pools.length, 2);
  assert.equal((await readAgentConfig(example("agent.yaml"))).directors.length, 2);
});

test("checkConfig() of the examples has nothing to say", async () => {
  assert.deepEqual(await checkConfig(example("director.yaml")), []);
  assert.deepEqual(await checkConfig(example("agent.yaml")), []);
});

test("readDirectorConfig() reads the hash key beside the file", async () => {
  const hex = "0123456789abcdef".repeat(4);
  chmodSync(fileOf("hash.key", `${hex}\n`), 0o600);
  const file = fileOf("keyed.yaml", "director: { interfaces: [eth0], hashKeyFile: hash.key }\n");
  const { hashKey } = await readDirectorConfig(file);
  assert.equal(Buffer.from(hashKey ?? []).toString("hex"), hex);

  chmodSync(join(folder, "hash.key"), 0o640);
  await assert.rejects(readDirectorConfig(file), {
    message: `${file}:1:46: director.hashKeyFile: Cannot read the hash key: its mode 0640 lets group or others at it; chmod 0600 it`,
  });
});

test("readDirectorConfig() throws one error with every issue, a line each", async () => {
  const file = fileOf("wrong.yaml", "director: { interfaces: [], xdpMode: fast }\npolls: []\n");
  const expected = [
    `${file}:1:25: director.interfaces: Expected a list of at least one interface name; got an empty list`,
    `${file}:1:38: director.xdpMode: Expected auto, native or generic; got "fast"`,
    `${file}:2:1: polls: Unknown key; did you mean "pools"?`,
  ];
  await assert.rejects(readDirectorConfig(file), (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, expected.join("\n"));
    assert.deepEqual(error.issues[2], {
      file,
      line: 2,
      column: 1,
      path: "polls",
      message: 'Unknown key; did you mean "pools"?',
    });
    return true;
  });
});

const latin1 = Buffer.from("director:\n  interfaces: [eth0]\n# b\xfcro\n", "latin1");
const unreadable: readonly { name: string; file: () => string; message: string }[] = [
  {
    name: "that does not exist",
    file: () => join(folder, "absent.yaml"),
    message: ": Cannot read the file: it does not exist",
  },
  {
    name: "that is a directory",
    file: () => folder,
    message: ": Cannot read the file: it is a directory",
  },
  {
    name: "under a file",
    file: () => join(fileOf("leaf.yaml", ""), "x.yaml"),
    message: ": Cannot read the file: a part of its path is not a directory",
  },
  {
    name: "without end",
    file: () => "/dev/zero",
    message: ": Larger than 8 MiB, the most a configuration may be",
  },
  {
    name: "of 8 MiB and a byte",
    file: () => fileOf("large.yaml", new Uint8Array(8 * 1024 * 1024 + 1).fill(0x23)),
    message: ": Larger than 8 MiB, the most a configuration may be",
  },
  {
    name: "in Latin-1",
    file: () => fileOf("latin1.yaml", latin1),
    message: ":3:1: Not UTF-8 text; save the file as UTF-8",
  },
  {
    name: "in UTF-16",
    file: () => fileOf("utf16.yaml", Buffer.from("\uFEFFdirector:\n", "utf16le")),
    message: ":1:1: Not UTF-8 text; save the file as UTF-8",
  },
  {
    name: "that is empty",
    file: () => fileOf("empty.yaml", ""),
    message:
      ":1:1: The file is empty; expected a map with the keys director, pools and services, or agent",
  },
];

for (const { name, file, message } of unreadable) {
  test(`readDirectorConfig() of a file ${name} says so`, async () => {
    const path = file();
    await assert.rejects(readDirectorConfig(path), {
      name: "ConfigError",
      message: path + message,
    });
    assert.equal((await checkConfig(path)).length, 1);
  });
}

test("checkConfig() of a file that may not be read says who may not", async (t) => {
  const { geteuid, seteuid } = process;
  if (geteuid === undefined || seteuid === undefined) return t.skip("no user ids here");
  const file = fileOf("closed.yaml", "director: { interfaces: [eth0] }\n");
  chmodSync(file, 0o000);
  chmodSync(folder, 0o755);
  const own = geteuid();
  // Root may read anything, so it becomes somebody else for this file.
  const reader = own === 0 ? 65_534 : own;
  seteuid(reader);
  try {
    const [issue] = await checkConfig(file);
    const expected = `Cannot read the file: permission denied (running as uid ${reader})`;
    assert.equal(issue?.message, expected);
  } finally {
    seteuid(own);
  }
});

test("read.ts alone loads neither yaml nor zod", () => {
  const read = loadWithoutLibraries("./read.ts");
  assert.equal(read.status, 0, read.stderr);
  assert.match(loadWithoutLibraries("./parse.ts").stderr, /loads (yaml|zod)/);
});

function loadWithoutLibraries(module: string): { status: number | null; stderr: string } {
  const url = new URL(module, import.meta.url).href;
  const code = `
    import { registerHooks } from "node:module";
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier === "yaml" || specifier === "zod") throw new Error("loads " + specifier);
        return next(specifier, context);
      },
    });
    await import(${JSON.stringify(url)});`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
}
