import assert from "node:assert/strict";
import { test } from "node:test";
import { closest } from "./suggest.ts";

const KEYS = ["name", "vips", "protocol", "ports", "pool"];

const rows: readonly { word: string; closest: string | undefined }[] = [
  { word: "nmae", closest: "name" },
  { word: "naem", closest: "name" },
  { word: "Name", closest: "name" },
  { word: "vip", closest: "vips" },
  { word: "port", closest: "ports" },
  { word: "pools", closest: "pool" },
  { word: "protocl", closest: "protocol" },
  { word: "prtcol", closest: "protocol" },
  { word: "x", closest: undefined },
  { word: "", closest: undefined },
  { word: "virtualAddresses", closest: undefined },
];

for (const { word, closest: expected } of rows) {
  test(`closest() to ${JSON.stringify(word)} is ${expected}`, () => {
    assert.equal(closest(word, KEYS), expected);
  });
}

test("closest() does not search lists that take long", () => {
  const many = Array.from({ length: 257 }, (_, index) => `pool-${index}`);
  assert.equal(closest("pool-1", many), undefined);
  assert.equal(closest("pool-1", many.slice(1)), "pool-1");
});
