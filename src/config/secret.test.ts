import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decodeHashKey, readSecret } from "./secret.ts";

const folder = mkdtempSync(join(tmpdir(), "carom-secret-"));
after(() => rmSync(folder, { recursive: true }));

function keyFile(name: string, mode: number, bytes: Uint8Array = KEY): string {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  chmodSync(file, mode);
  return file;
}

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
const HEX = Buffer.from(KEY).toString("hex");

for (const mode of [0o600, 0o400, 0o700]) {
  test(`readSecret() reads a file of mode ${mode.toString(8)}`, () => {
    assert.deepEqual(readSecret(keyFile(`own-${mode}`, mode)), { kind: "read", bytes: KEY });
  });
}

for (const mode of [0o640, 0o604, 0o644, 0o620, 0o602, 0o666]) {
  test(`readSecret() refuses a file of mode ${mode.toString(8)}`, () => {
    assert.deepEqual(readSecret(keyFile(`open-${mode}`, mode)), {
      kind: "refused",
      reason: `its mode 0${mode.toString(8)} lets group or others at it; chmod 0600 it`,
    });
  });
}

function reason(file: string): string {
  const reading = readSecret(file);
  return reading.kind === "refused" ? reading.reason : "read";
}

test("readSecret() refuses what is no file", () => {
  mkdirSync(join(folder, "directory"), { mode: 0o700 });
  symlinkSync("loop", join(folder, "loop"));
  assert.equal(reason(join(folder, "absent")), "it does not exist");
  assert.equal(reason(join(folder, "directory")), "not a regular file");
  assert.equal(reason(join(folder, "loop")), "its symbolic links form a loop");
  assert.equal(reason(join(keyFile("leaf", 0o600), "x")), "a part of its path is not a directory");
  assert.equal(reason("/dev/zero"), "not a regular file");
});

test("readSecret() reads no more than a key file can need", () => {
  const reading = readSecret(keyFile("large", 0o600, new Uint8Array(100_000)));
  assert.equal(reading.kind === "read" && reading.bytes.length, 4096);
});

const keys: readonly { name: string; bytes: Uint8Array; key: Uint8Array | undefined }[] = [
  { name: "32 raw bytes", bytes: KEY, key: KEY },
  { name: "64 hex digits", bytes: Buffer.from(HEX), key: KEY },
  { name: "64 capital hex digits", bytes: Buffer.from(HEX.toUpperCase()), key: KEY },
  { name: "64 hex digits and a newline", bytes: Buffer.from(`${HEX}\n`), key: KEY },
  { name: "64 hex digits and CRLF", bytes: Buffer.from(`${HEX}\r\n`), key: KEY },
  { name: "nothing", bytes: new Uint8Array(0), key: undefined },
  { name: "31 raw bytes", bytes: KEY.subarray(1), key: undefined },
  { name: "32 raw bytes and a newline", bytes: Uint8Array.of(...KEY, 10), key: undefined },
  { name: "62 hex digits", bytes: Buffer.from(HEX.slice(2)), key: undefined },
  { name: "66 hex digits", bytes: Buffer.from(`${HEX}00`), key: undefined },
  { name: "64 digits, one not hex", bytes: Buffer.from(`${HEX.slice(1)}g`), key: undefined },
  { name: "64 hex digits and two newlines", bytes: Buffer.from(`${HEX}\n\n`), key: undefined },
  { name: "64 hex digits after a space", bytes: Buffer.from(` ${HEX}`), key: undefined },
];

for (const { name, bytes, key } of keys) {
  test(`decodeHashKey() of ${name} is ${key ? "a key" : "none"}`, () => {
    assert.deepEqual(decodeHashKey(bytes), key);
  });
}
