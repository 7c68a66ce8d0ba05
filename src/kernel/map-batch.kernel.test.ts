import assert from "node:assert/strict";
import { test } from "node:test";
import { MapType } from "../bpf/image.ts";
import { fault, mapSpec, skip } from "./kernel-fixture.ts";
import { readChunks, updateMany } from "./map-batch.ts";
import type { BpfMap } from "./maps.ts";
import { createMap } from "./maps.ts";

const HASH = MapType.BPF_MAP_TYPE_HASH;
const ARRAY = MapType.BPF_MAP_TYPE_ARRAY;

/** Keys `0 … count - 1`, and for each the value `key * 3 + 1`. */
function entriesOf(count: number): { keys: Uint8Array; values: Uint8Array } {
  const keys = Uint32Array.from({ length: count }, (_, index) => index);
  const values = BigUint64Array.from(keys, (index) => BigInt(index) * 3n + 1n);
  return { keys: new Uint8Array(keys.buffer), values: new Uint8Array(values.buffer) };
}

function readAll(map: BpfMap): Map<number, bigint> {
  const all = new Map<number, bigint>();
  for (const { count, keys, values } of readChunks(map)) {
    assert.equal(keys.length, count * 4);
    assert.equal(values.length, count * map.userValueSize);
    const view = new DataView(values.buffer, values.byteOffset);
    new Uint32Array(keys.slice().buffer).forEach((key, index) => {
      assert.ok(!all.has(key), `key ${key} came twice`);
      all.set(key, view.getBigUint64(index * map.userValueSize, true));
    });
  }
  return all;
}

for (const { name, type, count } of [
  { name: "one entry", type: HASH, count: 1 },
  { name: "one chunk", type: HASH, count: 1000 },
  // A chunk of 12-byte entries holds 87 381.
  { name: "several chunks", type: HASH, count: 200_001 },
  { name: "an array of several chunks", type: ARRAY, count: 200_001 },
]) {
  test(`updateMany() and readChunks() carry ${name}`, { skip }, () => {
    using map = createMap(mapSpec({ type, maxEntries: count }));
    const { keys, values } = entriesOf(count);
    updateMany(map, keys, values);
    const all = readAll(map);
    assert.equal(all.size, count);
    for (const [key, value] of all) assert.equal(value, BigInt(key) * 3n + 1n);
  });
}

test("readChunks() of an empty map yields nothing", { skip }, () => {
  using map = createMap(mapSpec());
  assert.deepEqual([...readChunks(map)], []);
});

test("updateMany() says which entry had no room", { skip }, () => {
  using map = createMap(mapSpec({ maxEntries: 5 }));
  const { keys, values } = entriesOf(8);
  assert.throws(() => updateMany(map, keys, values), fault("MAP_ACCESS", /write entry 5 of 8/));
  assert.equal(readAll(map).size, 5);
});

test("updateMany() refuses keys and values that do not match", { skip }, () => {
  using map = createMap(mapSpec());
  const { keys } = entriesOf(2);
  assert.throws(() => updateMany(map, keys, new Uint8Array(8)), RangeError);
});
