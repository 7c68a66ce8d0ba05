import assert from "node:assert/strict";
import { test } from "node:test";
import { COUNTERS_SIZE_MAX, declareCounters } from "./counters.ts";

const MIB = 1 << 20;
const rows: readonly (readonly [count: number, cpus: number, region: number, size: number])[] = [
  [0, 1, 128, 128],
  [9, 3, 256, 1024],
  [65_536, 512, MIB, 512 * MIB],
  [32_768, 1024, MIB / 2, 512 * MIB],
];
for (const [count, cpus, regionBytes, size] of rows) {
  test(`declareCounters() gives ${count} counters on ${cpus} CPUs ${size} bytes`, () => {
    const counters = declareCounters("c", count, cpus);
    assert.deepEqual([counters.regionBytes, counters.map.valueSize], [regionBytes, size]);
    assert.ok(size <= COUNTERS_SIZE_MAX);
  });
}

const refused: readonly (readonly [count: number, cpus: number, says: RegExp])[] = [
  [
    65_537,
    512,
    /^Cannot declare 65537 counters for 512 CPUs: they take 1073741824 bytes, at most 536870912/,
  ],
  [65_536, 513, /1073741824 bytes/],
  [2 ** 30, 1, /bytes/],
  [Number.NaN, 1, /counters/],
  [1, 0, /0 CPUs/],
];
for (const [count, cpus, says] of refused) {
  test(`declareCounters() refuses ${count} counters for ${cpus} CPUs`, () => {
    assert.throws(() => declareCounters("c", count, cpus), { name: "RangeError", message: says });
  });
}
