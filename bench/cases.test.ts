import assert from "node:assert/strict";
import { test } from "node:test";
import { cases } from "./cases.ts";

const names = new Set(cases.map(({ name }) => name));
const pairs = [
  ["l2 ipv4", "l2 ipv6", "dscp ipv4", "dscp ipv6"],
  ...["ipip", "gre", "fou", "gue"].map((tunnel) => [
    `${tunnel} ipv4`,
    `${tunnel} ipv6`,
    `${tunnel} ipv4 in ipv6`,
    `${tunnel} ipv6 in ipv4`,
  ]),
].flat();

test("every forwarding is measured around every family, alone and with every feature", () => {
  assert.deepEqual(
    pairs.filter((name) => !names.has(name)),
    [],
  );
  assert.deepEqual(
    pairs.filter((name) => !names.has(`${name} every feature`)),
    [],
  );
});

test("a case that is measured at one flow is measured at a million", () => {
  const one = cases.filter(({ traffic }) => traffic.flows === 1).map(({ name }) => name);
  const many = cases.filter(({ traffic }) => traffic.flows === 1_000_000).map(({ name }) => name);
  assert.deepEqual(
    one.filter((name) => !many.includes(name)),
    [],
  );
});

test("no two cases have one name and as many flows", () => {
  const all = cases.map(({ name, traffic }) => `${name} ${traffic.flows}`);
  assert.equal(new Set(all).size, all.length);
});
