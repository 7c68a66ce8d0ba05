/** The hash against the vectors of its definition, docs/design/flow-hash.md, and against chance. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ip } from "../net/address.ts";
import {
  DEFAULT_HASH_KEY,
  FLOW_WORDS_MAX,
  flowHash,
  type FlowHashKey,
  flowHashKey,
  HASH_KEY_SIZE,
} from "./flow-hash.ts";

const PAGE = readFileSync(new URL("../../docs/design/flow-hash.md", import.meta.url), "utf8");
const OTHER_KEY = Uint8Array.from({ length: HASH_KEY_SIZE }, (_, index) => index);
const keys = [flowHashKey(DEFAULT_HASH_KEY), flowHashKey(OTHER_KEY)] as const;

/** Cells of the page's table rows whose first cell matches. */
const rowsOf = (first: RegExp): readonly (readonly string[])[] =>
  PAGE.split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    )
    .filter(([cell]) => cell !== undefined && first.test(cell));

interface Flow {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly protocol: number;
}

function wordsOf({ source, destination, sourcePort, destinationPort, protocol }: Flow): number[] {
  const ports = [sourcePort >> 8, sourcePort & 0xff, destinationPort >> 8, destinationPort & 0xff];
  const bytes = Uint8Array.of(...source, ...destination, ...ports, protocol, 0, 0, 0);
  return Array.from(new Uint32Array(bytes.buffer));
}

test("flowHashKey() gives the multipliers of the page", () => {
  const rows = rowsOf(/^k\d+$/);
  assert.equal(rows.length, FLOW_WORDS_MAX + 1);
  rows.forEach(([name, ...values], index) => {
    assert.equal(name, `k${index}`);
    assert.deepEqual(
      values,
      keys.map((key) => key[index]?.toString(16).padStart(16, "0")),
    );
  });
});

const vectors = rowsOf(/^[0-9a-f:.]+[.:]/);
test("the page has vectors of both families", () => {
  assert.ok(vectors.some(([source]) => source?.includes(".")));
  assert.ok(vectors.some(([source]) => source?.includes(":")));
});
for (const [source = "", sourcePort, destination = "", port, protocol, ...hashes] of vectors) {
  test(`flowHash() of ${source} ${sourcePort} > ${destination} ${port}, protocol ${protocol}`, () => {
    const words = wordsOf({
      source: ip(source).bytes,
      destination: ip(destination).bytes,
      sourcePort: Number(sourcePort),
      destinationPort: Number(port),
      protocol: Number(protocol),
    });
    assert.deepEqual(
      keys.map((key) => flowHash(key, words).toString(16).padStart(8, "0")),
      hashes,
    );
  });
}

test("flowHash() takes words as signed or unsigned numbers", () => {
  assert.equal(flowHash(keys[0], [-1, -2]), flowHash(keys[0], [0xffff_ffff, 0xffff_fffe]));
});

test("flowHash() refuses more words than the key has multipliers", () => {
  assert.throws(
    () =>
      flowHash(
        keys[0],
        Array.from({ length: 11 }, () => 0),
      ),
    RangeError,
  );
});

for (const length of [0, 31, 33, 64]) {
  test(`flowHashKey() refuses ${length} bytes`, () => {
    assert.throws(() => flowHashKey(new Uint8Array(length)), /32 are needed/);
  });
}

const v4 = { source: ip("192.0.2.1").bytes, destination: ip("203.0.113.10").bytes };
const v6 = { source: ip("2001:db8:c::1").bytes, destination: ip("2001:db8::10").bytes };
const plain = { sourcePort: 40_000, destinationPort: 443, protocol: 6 };

/** `address` with its last three bytes counting. */
function counted(address: Uint8Array, number: number): Uint8Array {
  const bytes = Uint8Array.from(address);
  bytes.set([number >> 16, (number >> 8) & 0xff, number & 0xff], bytes.length - 3);
  return bytes;
}

/** Flows as they come, by number: what differs is next to each other. */
const sequences: readonly { name: string; flow: (number: number) => Flow }[] = [
  { name: "source ports of one IPv4 client", flow: (n) => ({ ...plain, ...v4, sourcePort: n }) },
  { name: "source ports of one IPv6 client", flow: (n) => ({ ...plain, ...v6, sourcePort: n }) },
  {
    name: "every second source port",
    flow: (n) => ({ ...plain, ...v4, sourcePort: (n * 2) & 0xffff, protocol: n < 32_768 ? 6 : 17 }),
  },
  {
    name: "IPv4 clients in a row",
    flow: (n) => ({ ...plain, ...v4, source: counted(v4.source, n) }),
  },
  {
    name: "IPv6 clients in a row",
    flow: (n) => ({ ...plain, ...v6, source: counted(v6.source, n) }),
  },
  {
    name: "IPv4 clients a /24 apart",
    flow: (n) => ({ ...plain, ...v4, source: Uint8Array.of(10, n >> 8, n & 0xff, 1) }),
  },
  {
    name: "IPv6 clients a /64 apart",
    flow: (n) => ({
      ...plain,
      ...v6,
      source: Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, n >> 8, n & 0xff, 0, 0, 0, 0, 0, 0, 0, 1),
    }),
  },
  { name: "destination ports in a row", flow: (n) => ({ ...plain, ...v4, destinationPort: n }) },
];
const FLOWS = 65_536;
const BUCKETS = 1024;

/** How far the counts are from equal, in standard deviations of the chi-square of as many buckets. */
function deviation(key: FlowHashKey, flow: (number: number) => Flow): number {
  const counts = new Uint32Array(BUCKETS);
  for (let number = 0; number < FLOWS; number += 1) {
    const bucket = flowHash(key, wordsOf(flow(number))) % BUCKETS;
    counts[bucket] = (counts[bucket] ?? 0) + 1;
  }
  const expected = FLOWS / BUCKETS;
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  return (chiSquare - (BUCKETS - 1)) / Math.sqrt(2 * (BUCKETS - 1));
}

// Fixed, so that the outcome is: the third is neither all zeros nor counts up.
const secrets = [
  DEFAULT_HASH_KEY,
  OTHER_KEY,
  Uint8Array.from({ length: HASH_KEY_SIZE }, (_, index) => (index * 167 + 13) & 0xff),
];
for (const { name, flow } of sequences) {
  test(`flowHash() spreads ${name} over buckets`, () => {
    for (const secret of secrets) {
      // Below is fine too: a sequence may be spread more evenly than chance would.
      const sigmas = deviation(flowHashKey(secret), flow);
      assert.ok(sigmas < 5, `${sigmas.toFixed(1)} standard deviations more than chance`);
    }
  });
}
