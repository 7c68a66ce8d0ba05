import assert from "node:assert/strict";
import { test } from "node:test";
import { MapType } from "../bpf/image.ts";
import { key, mapSpec, skip } from "./kernel-fixture.ts";
import type { BpfMap } from "./maps.ts";
import { createMap } from "./maps.ts";
import { readPerCpu, sumPerCpu } from "./per-cpu.ts";
import { possibleCpuCount } from "./possible-cpus.ts";

const ENTRIES = 9;
const CPUS = skip === false ? possibleCpuCount() : 0;

/** Every field differs: entry, CPU and field are its digits. */
const fieldOf = (entry: number, cpu: number, field: number): bigint =>
  BigInt(entry * 10_000 + cpu * 10 + field);

function filled(fields: number): BpfMap {
  const type = MapType.BPF_MAP_TYPE_PERCPU_ARRAY;
  const map = createMap(mapSpec({ type, valueSize: fields * 8, maxEntries: ENTRIES }));
  for (let entry = 0; entry < ENTRIES; entry++) {
    const values = BigUint64Array.from({ length: CPUS * fields }, (_, at) =>
      fieldOf(entry, Math.floor(at / fields), at % fields),
    );
    map.update(key(entry), new Uint8Array(values.buffer));
  }
  return map;
}

for (const { index, count } of [
  { index: 0, count: 1 },
  { index: 0, count: ENTRIES },
  { index: 3, count: 4 },
  { index: ENTRIES - 1, count: 1 },
]) {
  test(`sumPerCpu() adds up ${count} entries from ${index} on`, { skip }, () => {
    using map = filled(2);
    const wanted = Array.from({ length: count * 2 }, (_, at) => {
      let sum = 0n;
      for (let cpu = 0; cpu < CPUS; cpu++) sum += fieldOf(index + Math.floor(at / 2), cpu, at % 2);
      return sum;
    });
    assert.deepEqual(sumPerCpu(map, index, count), BigUint64Array.from(wanted));
  });
}

test("readPerCpu() gives every CPU's value", { skip }, () => {
  using map = filled(1);
  const values = readPerCpu(map, 2, 3);
  assert.equal(values.length, 3);
  values.forEach((byCpu, entry) => {
    assert.equal(byCpu.length, CPUS);
    byCpu.forEach((value, cpu) => {
      const wanted = BigUint64Array.of(fieldOf(2 + entry, cpu, 0));
      assert.deepEqual(value, new Uint8Array(wanted.buffer));
    });
  });
});

test("readPerCpu() leaves out the padding behind values that are not a multiple of 8", {
  skip,
}, () => {
  const type = MapType.BPF_MAP_TYPE_PERCPU_ARRAY;
  using map = createMap(mapSpec({ type, valueSize: 4, maxEntries: 2 }));
  assert.equal(map.userValueSize, 8 * CPUS);
  map.update(key(1), new Uint8Array(map.userValueSize).fill(7));
  assert.deepEqual(readPerCpu(map, 1, 1), [
    Array.from({ length: CPUS }, () => new Uint8Array(4).fill(7)),
  ]);
  assert.throws(() => sumPerCpu(map, 0, 1), /4 bytes are not u64 fields/);
});

test("sumPerCpu() carries from the low half to the high one, and wraps at 2^64", { skip }, () => {
  const type = MapType.BPF_MAP_TYPE_PERCPU_ARRAY;
  const rows = [0xffff_ffffn, 0xffff_ffff_ffffn, 0xffff_ffff_ffff_fff0n, 1n << 63n];
  using map = createMap(mapSpec({ type, maxEntries: rows.length }));
  rows.forEach((value, entry) => {
    const values = new BigUint64Array(CPUS).fill(value);
    map.update(key(entry), new Uint8Array(values.buffer));
  });
  const wanted = rows.map((value) => BigInt.asUintN(64, value * BigInt(CPUS)));
  assert.deepEqual(sumPerCpu(map, 0, rows.length), BigUint64Array.from(wanted));
});

test("sumPerCpu() refuses entries the map has not", { skip }, () => {
  using map = filled(1);
  assert.throws(() => sumPerCpu(map, ENTRIES - 1, 2), RangeError);
});
