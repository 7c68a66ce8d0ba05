import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "./address.ts";
import type { IpScope } from "./scope.ts";
import { ipScope } from "./scope.ts";

const rows: readonly (readonly [text: string, scope: IpScope])[] = [
  ["192.0.2.10", "unicast"],
  ["1.0.0.0", "unicast"],
  ["126.255.255.255", "unicast"],
  ["128.0.0.1", "unicast"],
  ["169.253.255.255", "unicast"],
  ["169.255.0.0", "unicast"],
  ["223.255.255.255", "unicast"],
  ["240.0.0.1", "unicast"],
  ["255.255.255.254", "unicast"],
  ["0.0.0.0", "unspecified"],
  ["0.1.2.3", "unspecified"],
  ["127.0.0.1", "loopback"],
  ["127.255.255.255", "loopback"],
  ["169.254.0.1", "link-local"],
  ["224.0.0.1", "multicast"],
  ["239.255.255.255", "multicast"],
  ["255.255.255.255", "broadcast"],
  ["2001:db8::10", "unicast"],
  ["fec0::1", "unicast"],
  ["fe7f::1", "unicast"],
  ["::2", "unicast"],
  ["::1:0:0:1", "unicast"],
  ["64:ff9b::192.0.2.1", "unicast"],
  ["::", "unspecified"],
  ["::1", "loopback"],
  ["fe80::1", "link-local"],
  ["febf::1", "link-local"],
  ["ff02::1", "multicast"],
  ["::ffff:192.0.2.1", "IPv4-mapped"],
];

for (const [text, scope] of rows) {
  test(`ipScope() of ${text} is ${scope}`, () => assert.equal(ipScope(ip(text)), scope));
}
