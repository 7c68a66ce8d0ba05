/** What all pools and services of a file may take together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIssue } from "./issue.ts";
import { checkText } from "./parse.ts";
import type { SecretReading } from "./secret.ts";

interface Size {
  readonly pools?: number;
  readonly backends?: number;
  readonly vips?: readonly string[];
  readonly ports: number;
}

/** A pool a line from line 3 on, then a service a line for each: pool 0 has the ports and VIPs. */
function textOf({ pools = 1, backends = 1, vips = ["192.0.2.10"], ports }: Size) {
  const members = list(
    backends,
    (index) => `{name: b${index}, address: "2001:db8::${index.toString(16)}"}`,
  );
  return [
    "director: { interfaces: [eth0] }",
    "pools:",
    ...list(pools, (pool) => `- {name: p${pool}, backends: [${members.join()}]}`),
    "services:",
    `- {name: p0, vips: [${vips.join()}], protocol: tcp, pool: p0, ports: [${list(ports, (port) => `${port + 1}`).join()}]}`,
    ...list(
      pools - 1,
      (pool) =>
        `- {name: p${pool + 1}, vips: [198.51.100.1], protocol: udp, pool: p${pool + 1}, ports: [${pool + 1}]}`,
    ),
  ].join("\n");
}

const list = (count: number, item: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, index) => item(index));

const vips = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `192.0.2.${index}`);

const rows: readonly { name: string; size: Size; issues?: readonly string[] }[] = [
  { name: "4 VIPs with every port", size: { vips: vips(4), ports: 65_535 } },
  {
    name: "8 VIPs with every port: 524 288 keys, no slot to spare",
    size: { vips: vips(8), ports: 65_535 },
  },
  {
    name: "one VIP more",
    size: { vips: vips(9), ports: 65_535 },
    issues: [
      "5:3: services[0]: Too much for one director: up to here 589815 VIPs times ports and 1 pool with 1 backend need 261 MiB of tables, at most 256; divide the services between several instances",
    ],
  },
  { name: "200 pools", size: { pools: 200, backends: 10, ports: 1 } },
  { name: "1000 pools", size: { pools: 1000, backends: 2, ports: 1 } },
  {
    name: "1100 pools: too much with the first of them that does not fit",
    size: { pools: 1100, backends: 2, ports: 1 },
    issues: [
      "1022:3: pools[1019]: Too much for one director: up to here 1020 pools with 2040 backends and 66846720 buckets need 257 MiB of tables, at most 256; divide the pools between several instances",
    ],
  },
];

const readSecret = (): SecretReading => ({ kind: "refused", reason: "not read here" });

for (const { name, size, issues = [] } of rows) {
  test(`checkText(): ${name}`, () => {
    const found = checkText(textOf(size), "f", readSecret).map((issue) =>
      formatIssue(issue).slice("f:".length),
    );
    assert.deepEqual(found, issues);
  });
}
