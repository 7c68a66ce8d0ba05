import assert from "node:assert/strict";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fault, key, mapSpec, skip, u64s, verdict } from "./kernel-fixture.ts";
import { call } from "./libc.ts";
import { createMap, mapInfo, openMap } from "./maps.ts";
import {
  BPFFS,
  isOnBpffs,
  listPins,
  makePinDirectory,
  openPin,
  pin,
  removePin,
  replacePin,
} from "./pins.ts";
import { loadProgram } from "./programs.ts";

const noMaps = (): number => assert.fail("no map in it");

test("A pin keeps a map alive and gives it back", { skip }, () => {
  const directory = `${BPFFS}/carom_pins/main`;
  makePinDirectory(directory);
  const path = `${directory}/hash`;
  {
    using map = createMap(mapSpec());
    map.update(key(1), u64s(11n));
    pin(map.fd, path);
  }
  {
    using map = openMap(path, mapSpec());
    assert.deepEqual(map.lookup(key(1)), u64s(11n));
    assert.deepEqual(listPins(directory), ["hash"]);
  }
  assert.equal(removePin(path), true);
  assert.equal(removePin(path), false);
  assert.deepEqual(listPins(directory), []);
  assert.throws(() => openPin(path), fault("PIN_MISSING", /nothing is pinned there/));
});

test("pin() refuses a name that is taken, replacePin() takes its place", { skip }, () => {
  const path = `${BPFFS}/carom_replace`;
  using first = createMap(mapSpec());
  using second = createMap(mapSpec());
  pin(first.fd, path);
  try {
    assert.throws(() => pin(second.fd, path), fault("PIN_EXISTS", /the name is taken/));
    replacePin(second.fd, path);
    const found = openPin(path);
    assert.equal(mapInfo(found).id, mapInfo(second.fd).id);
    call("close", found);
    assert.deepEqual(
      listPins(BPFFS).filter((name) => name.startsWith("carom_replace")),
      ["carom_replace"],
    );
  } finally {
    removePin(path);
  }
});

test("Pinning outside a BPF file system names the command that mounts one", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "carom-"));
  using map = createMap(mapSpec());
  try {
    assert.equal(isOnBpffs(directory), false);
    for (const attempt of [
      () => pin(map.fd, join(directory, "map")),
      () => openPin(join(directory, "map")),
      () => makePinDirectory(join(directory, "a", "b")),
    ]) {
      assert.throws(attempt, fault("NO_BPFFS", /"mount -t bpf bpf \/sys\/fs\/bpf"/));
    }
    assert.deepEqual(listPins(join(directory, "a")), [], "nothing was made");
  } finally {
    rmdirSync(directory);
  }
});

test("replacePin() in place of a directory fails and leaves nothing behind", { skip }, () => {
  const path = `${BPFFS}/carom_directory`;
  makePinDirectory(path);
  using map = createMap(mapSpec());
  assert.throws(
    () => replacePin(map.fd, path),
    fault("PIN", /^Cannot pin to "\/sys\/fs\/bpf\/carom_d/),
  );
  assert.ok(!listPins(BPFFS).includes("carom_directory_next"));
});

for (const { name, path, message } of [
  { name: "dots", path: `${BPFFS}/eth0.100`, message: /have no dots/ },
  {
    name: "a directory that is not there",
    path: `${BPFFS}/none/map`,
    message: /"\/sys\/fs\/bpf\/none" does not exist/,
  },
]) {
  test(`pin() explains ${name}`, { skip }, () => {
    using map = createMap(mapSpec());
    assert.throws(() => pin(map.fd, path), fault("PIN", message));
  });
}

test("openMap() refuses a pin that is a program", { skip }, () => {
  const path = `${BPFFS}/carom_program`;
  using program = loadProgram(verdict(2), noMaps);
  pin(program.fd, path);
  try {
    assert.throws(() => openMap(path, mapSpec()), fault("MAP_MISMATCH", /type is /));
  } finally {
    removePin(path);
  }
});
