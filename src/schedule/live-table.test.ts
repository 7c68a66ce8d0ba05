import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveTable } from "./live-table.ts";
import { randomFrom, randomPool } from "./random-pools.ts";
import { buildTable, NO_OWNER, ownersOf } from "./table.ts";
import type { TablePlan } from "./table.ts";

const SEED = Number(process.env["SEED"] ?? 1);

function countsOf({ members }: TablePlan, owners: Uint16Array): Uint32Array {
  const counts = new Uint32Array(members.length);
  for (const owner of owners) if (owner !== NO_OWNER) counts[owner]!++;
  return counts;
}

function same(a: Uint16Array, b: Uint16Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

/**
 * `usually` of 10 members are usable in the long run; 0 and 10 walk to nobody and everybody, which is
 * where lists run empty and deep buckets pile up.
 */
for (const count of [1, 2, 3, 10, 100, 400]) {
  test(`LiveTable equals ownersOf() after any changes, ${count} members`, (t) => {
    t.diagnostic(`SEED=${SEED}`);
    const random = randomFrom(SEED + count);
    for (const mix of ["equal", "skewed"] as const) {
      const plan = buildTable(randomPool(count, mix, random));
      for (const usually of [0, 5, 9, 10]) {
        const usable = new Set([...plan.members.keys()].filter(() => random(10) < usually));
        const live = new LiveTable(plan, usable);
        for (let step = 1; step <= 40; step++) {
          const before = live.owners.slice();
          const member = random(count);
          const up = random(10) < usually;
          const moved = live.setUsable(member, up);
          if (up) usable.add(member);
          else usable.delete(member);
          for (const bucket of moved) {
            assert.notEqual(live.owners[bucket], before[bucket]);
            before[bucket] = live.owners[bucket]!;
          }
          assert.ok(same(before, live.owners), "a bucket changed that was not returned");
          if (step % 10 !== 0) continue;
          const expected = ownersOf(plan, usable);
          assert.ok(same(live.owners, expected), `SEED=${SEED}, step ${step}`);
          assert.deepEqual(live.counts, countsOf(plan, expected));
        }
      }
    }
  });
}

test("setUsable() moves exactly the member's buckets, there and back", () => {
  const plan = buildTable(randomPool(50, "mixed", randomFrom(SEED)));
  const live = new LiveTable(plan, plan.members.keys());
  const own = live.counts[7]!;
  const gone = live.setUsable(7, false);
  assert.equal(gone.length, own);
  assert.deepEqual(live.setUsable(7, true).toSorted(), gone.toSorted());
  assert.deepEqual(live.owners, plan.base);
});

test("setUsable() changes nothing when nothing is new", () => {
  const plan = buildTable(randomPool(3, "equal", randomFrom(SEED)));
  const live = new LiveTable(plan, [0, 2]);
  assert.equal(live.setUsable(1, false).length, 0);
  assert.equal(live.setUsable(0, true).length, 0);
  assert.deepEqual(live.usable, new Set([0, 2]));
});

test("LiveTable refuses what is not a member", () => {
  const plan = buildTable(randomPool(3, "equal", randomFrom(SEED)));
  assert.throws(() => new LiveTable(plan, [3]), RangeError);
  assert.throws(() => new LiveTable(plan, []).setUsable(-1, true), RangeError);
});
