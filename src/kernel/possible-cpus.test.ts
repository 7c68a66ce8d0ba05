import assert from "node:assert/strict";
import { test } from "node:test";
import { countCpuList } from "./possible-cpus.ts";

for (const { list, count } of [
  { list: "0\n", count: 1 },
  { list: "0-1\n", count: 2 },
  { list: "0-3,8-11,64\n", count: 9 },
  { list: "\n", count: 0 },
]) {
  test(`countCpuList() of ${JSON.stringify(list)}`, () => {
    assert.equal(countCpuList(list), count);
  });
}
