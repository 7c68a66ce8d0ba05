import assert from "node:assert/strict";
import { test } from "node:test";
import { ScheduleError } from "./schedule-error.ts";
import type { ScheduleErrorCode } from "./schedule-error.ts";
import { buildTable } from "./table.ts";
import { tableSize } from "./table-size.ts";
import type { Member } from "./table.ts";

const pool = (...weights: number[]): Member[] =>
  weights.map((weight, i) => ({ name: `web-${i}`, weight }));
const heavy = (count: number, weight: number) => Array.from({ length: count }, () => weight);

const SIZES: { name: string; members: Member[]; size: number }[] = [
  { name: "an empty pool", members: [], size: 65_536 },
  { name: "one member", members: pool(1), size: 65_536 },
  { name: "100 equal members", members: pool(...heavy(100, 5)), size: 65_536 },
  { name: "101 members", members: pool(...heavy(101, 5)), size: 131_072 },
  { name: "a share of 4 buckets exactly", members: pool(1, 16_383), size: 65_536 },
  { name: "a share just below 4 buckets", members: pool(1, 16_384), size: 131_072 },
  { name: "weights 1 and 65 535", members: pool(1, 65_535), size: 262_144 },
  { name: "a share of 4 of 2^20 buckets", members: pool(1, ...heavy(4, 65_535)), size: 1_048_576 },
];
for (const { name, members, size } of SIZES) {
  test(`tableSize() is ${size} for ${name}`, () => {
    assert.equal(tableSize(members), size);
  });
}

const REFUSED: { name: string; members: Member[]; code: ScheduleErrorCode; says: RegExp }[] = [
  { name: "weight 0", members: pool(1, 0), code: "WEIGHT", says: /"web-1" has weight 0/ },
  { name: "a fraction", members: pool(1.5), code: "WEIGHT", says: /integer from 1 to 65535/ },
  { name: "weight 65 536", members: pool(65_536), code: "WEIGHT", says: /has weight 65536/ },
  {
    name: "a name used twice",
    members: [...pool(1), ...pool(2)],
    code: "NAME",
    says: /two members are named "web-0"/,
  },
  { name: "an empty name", members: [{ name: "", weight: 1 }], code: "NAME", says: /empty name/ },
  {
    name: "65 536 members",
    members: pool(...heavy(65_536, 1)),
    code: "MEMBER_COUNT",
    says: /a pool holds at most 65535/,
  },
  {
    name: "a weight too small for any table",
    members: pool(1, ...heavy(10, 65_535)),
    code: "TABLE_SIZE",
    says: /weight 1 of "web-0" is less than 4 of 1048576 buckets/,
  },
];
for (const { name, members, code, says } of REFUSED) {
  test(`tableSize() refuses ${name}`, () => {
    assert.throws(
      () => tableSize(members),
      (error) => error instanceof ScheduleError && error.code === code && says.test(error.message),
    );
  });
}

test("tableSize() says what would work, and it does, and no less does", () => {
  const members = pool(1, 1, 2, ...heavy(30, 65_535));
  let least = 0;
  try {
    tableSize(members);
  } catch (error) {
    least = Number(/at least weight (\d+)/.exec(String(error))?.[1]);
  }
  const raised = (floor: number) =>
    members.map(({ name, weight }) => ({ name, weight: Math.max(weight, floor) }));
  assert.ok(least > 1);
  assert.equal(tableSize(raised(least)), 1 << 20);
  assert.throws(() => tableSize(raised(least - 1)), ScheduleError);
});

test("buildTable() gives the smallest weight 4 buckets in tables of every size", () => {
  for (const { members, size } of SIZES.slice(4)) {
    const counts = new Uint32Array(members.length);
    for (const owner of buildTable(members).base) counts[owner]!++;
    assert.ok(counts[0]! >= 4, `${counts[0]} of ${size}`);
  }
});

test("buildTable() keeps the owners when the table grows", () => {
  const small = buildTable(pool(1, 8_000, 8_000)).base;
  const large = buildTable(pool(1, 8_300, 8_300)).base;
  assert.equal(large.length, 2 * small.length);
  let moved = 0;
  for (const [bucket, owner] of large.entries()) {
    if (owner !== small[bucket % small.length]) moved++;
  }
  assert.ok(moved < 0.0035 * large.length, `${moved} of ${large.length} buckets moved`);
});
