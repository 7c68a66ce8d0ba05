import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "./address.ts";
import { formatPrefix, isWhole, masked, parsePrefix, prefixContains } from "./prefix.ts";

for (const { text, formatted } of [
  { text: "192.0.2.0/24", formatted: "192.0.2.0/24" },
  { text: "192.0.2.10/32", formatted: "192.0.2.10" },
  { text: "192.0.2.10", formatted: "192.0.2.10" },
  { text: "0.0.0.0/0", formatted: "0.0.0.0/0" },
  { text: "2001:DB8::/33", formatted: "2001:db8::/33" },
  { text: "2001:db8::10/128", formatted: "2001:db8::10" },
]) {
  test(`parsePrefix("${text}")`, () => {
    const prefix = parsePrefix(text);
    assert.ok(prefix !== undefined);
    assert.equal(formatPrefix(prefix), formatted);
    assert.equal(isWhole(prefix), !formatted.includes("/"));
  });
}

for (const text of [
  "",
  "/24",
  "192.0.2.0/",
  "192.0.2.0/33",
  "192.0.2.0/024",
  "192.0.2.0/-1",
  "192.0.2.0/24/24",
  "192.0.2.1/24",
  "2001:db8::1/64",
  "2001:db8::/129",
  "web/24",
]) {
  test(`parsePrefix("${text}") is none`, () => assert.equal(parsePrefix(text), undefined));
}

for (const { prefix, inside, outside } of [
  { prefix: "192.0.2.0/24", inside: ["192.0.2.0", "192.0.2.255"], outside: ["192.0.3.0", "::"] },
  { prefix: "192.0.2.64/26", inside: ["192.0.2.64", "192.0.2.127"], outside: ["192.0.2.128"] },
  { prefix: "0.0.0.0/0", inside: ["255.255.255.255"], outside: ["::"] },
  { prefix: "2001:db8::/33", inside: ["2001:db8:7fff::1"], outside: ["2001:db8:8000::1"] },
]) {
  test(`prefixContains() of ${prefix}`, () => {
    const parsed = parsePrefix(prefix);
    assert.ok(parsed !== undefined);
    for (const address of inside) assert.ok(prefixContains(parsed, ip(address)), address);
    for (const address of outside) assert.ok(!prefixContains(parsed, ip(address)), address);
  });
}

test("masked() leaves the first bits", () => {
  assert.deepEqual(masked(ip("255.255.255.255"), 9), ip("255.128.0.0"));
  assert.deepEqual(masked(ip("2001:db8::ffff"), 120), ip("2001:db8::ff00"));
});
