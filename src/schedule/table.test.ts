/**
 * The promises of docs/design/tables.md, for pools of 2 to 1 000 members with equal, mixed and skewed
 * weights. The seed is fixed so that a run proves what the last one did; SEED=n tries other pools, and every
 * failure names it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mixes, randomFrom, randomPool, randomWeight, shuffled } from "./random-pools.ts";
import type { Mix, Random } from "./random-pools.ts";
import { buildTable, NO_OWNER, ownersOf } from "./table.ts";
import type { TablePlan } from "./table.ts";

const SEED = Number(process.env["SEED"] ?? 1);
const COUNTS = [2, 3, 5, 10, 30, 100, 150, 300, 700, 1000];

/** Every count with every mix; built once for all tests, which only read them. */
const PLANS = COUNTS.flatMap((count) =>
  mixes.map((mix) => {
    const plan = buildTable(randomPool(count, mix, randomFrom(SEED + count)));
    return { name: `${count} members, ${mix}`, mix, plan };
  }),
);

/** Checks a property of every plan, each with its own numbers from the seed. */
function forPlans(name: string, check: (plan: TablePlan, random: Random, mix: Mix) => void): void {
  test(name, (t) => {
    t.diagnostic(`SEED=${SEED}`);
    for (const [i, { name, mix, plan }] of PLANS.entries()) {
      try {
        check(plan, randomFrom(SEED + 31 * i), mix);
      } catch (cause) {
        throw new Error(`${name}, SEED=${SEED}: ${String(cause)}`, { cause });
      }
    }
  });
}

const all = (plan: TablePlan) => new Set(plan.members.keys());

function without(plan: TablePlan, count: number, random: Random): Set<number> {
  const usable = all(plan);
  for (const member of shuffled([...usable], random).slice(0, count)) usable.delete(member);
  return usable;
}

/** Throws where a count of buckets is further from the weights of `usable` than allowed. */
function assertShares(
  plan: TablePlan,
  usable: ReadonlySet<number>,
  allowed: { ratio: number; buckets: number },
): void {
  const counts = new Map([...usable].map((member) => [member, 0]));
  for (const owner of ownersOf(plan, usable)) counts.set(owner, counts.get(owner)! + 1);
  assert.equal(counts.size, usable.size, "a bucket is owned by a member that is not usable");
  let sum = 0;
  for (const member of usable) sum += plan.members[member]!.weight;
  for (const [member, count] of counts) {
    const share = (plan.size * plan.members[member]!.weight) / sum;
    const off = Math.abs(count - share);
    assert.ok(
      off <= Math.max(allowed.ratio * share, allowed.buckets) + 1e-6,
      `${plan.members[member]!.name} has ${count} buckets, its share is ${share}`,
    );
  }
}

forPlans("buildTable() gives every member its share within 2 % or one bucket", (plan) => {
  assertShares(plan, all(plan), { ratio: 0.02, buckets: 1 });
});

forPlans("ownersOf() keeps shares within 5 % or 6 buckets when 1 % are down", (plan, random) => {
  const down = Math.floor(plan.members.length / 100);
  if (down === 0) return;
  for (let i = 0; i < 4; i++) {
    assertShares(plan, without(plan, down, random), { ratio: 0.05, buckets: 6 });
  }
});

forPlans("buildTable() does not depend on the order of the members", (plan, random) => {
  const other = buildTable(shuffled(plan.members, random));
  const indexes = new Map([...plan.members.entries()].map(([index, { name }]) => [name, index]));
  const back = Uint16Array.from(other.members, ({ name }) => indexes.get(name)!);
  assert.ok(plan.base.every((owner, bucket) => owner === back[other.base[bucket]!]));
  assert.ok(plan.second.every((owner, bucket) => owner === back[other.second[bucket]!]));
});

forPlans("ownersOf() moves no bucket between members that stay usable", (plan, random) => {
  let usable = all(plan);
  let owners = ownersOf(plan, usable);
  assert.ok(owners.every((owner, bucket) => owner === plan.base[bucket]));
  for (let step = 0; step < 6 && usable.size > 1; step++) {
    const fewer = new Set(usable);
    const gone = shuffled([...usable], random).slice(0, Math.ceil(usable.size / 3));
    for (const member of gone) fewer.delete(member);
    const next = ownersOf(plan, fewer);
    const wrong = next.findIndex((owner, bucket) => {
      const before = owners[bucket]!;
      return fewer.has(before) ? owner !== before : fewer.size > 0 && !fewer.has(owner);
    });
    assert.equal(wrong, -1, `bucket ${wrong} moved`);
    usable = fewer;
    owners = next;
  }
});

/**
 * What the tables before and after `newcomer` disagree on, besides what it has now, as part of all
 * buckets. A larger table repeats the smaller, so bucket b of it was bucket b mod size.
 */
function unneeded(before: TablePlan, weight: number, name = "newcomer"): number {
  const newcomer = before.members.length;
  const after = buildTable([...before.members, { name, weight }]);
  const size = Math.max(before.size, after.size);
  let moved = 0;
  for (let bucket = 0; bucket < size; bucket++) {
    const owner = after.base[bucket % after.size]!;
    if (owner !== newcomer && owner !== before.base[bucket % before.size]) moved++;
  }
  return moved / size;
}

/**
 * Adding a newcomer and removing it again is one comparison. What one much heavier than the mean
 * takes is uneven by more than the tolerance of the others, and it moves more to even that out.
 */
function allowedMoves(before: TablePlan, weight: number): number {
  const mean = before.members.reduce((sum, m) => sum + m.weight, 0) / before.members.length;
  return weight <= 2 * mean ? 0.0035 : 0.0035 * Math.sqrt(Math.sqrt(weight / mean));
}

forPlans("buildTable() moves at most 0.35 % more than a member takes", (before, random, mix) => {
  const weight = randomWeight(mix, random);
  const moved = unneeded(before, weight);
  assert.ok(moved <= allowedMoves(before, weight), `${moved} of the buckets moved without need`);
});

/** The worst found, with one track (the first four moved 0.37 to 1.03 %) and with two. */
const WORST_MOVES: { name: string; count: number; mix: Mix; seed: number; weight: number }[] = [
  { name: "500 mixed", count: 500, mix: "mixed", seed: 8, weight: 10 },
  { name: "1 000 mixed", count: 1000, mix: "mixed", seed: 16, weight: 10 },
  { name: "the heaviest of 300 skewed", count: 300, mix: "skewed", seed: 12, weight: 64 },
  { name: "the heaviest of 1 000 skewed", count: 1000, mix: "skewed", seed: 5, weight: 64 },
  { name: "when the table doubles", count: 100, mix: "mixed", seed: 6, weight: 10 },
  { name: "just after it doubled", count: 101, mix: "mixed", seed: 13, weight: 10 },
  { name: "900 mixed", count: 900, mix: "mixed", seed: 2, weight: 10 },
  { name: "1 000 mixed, two tracks", count: 1000, mix: "mixed", seed: 6, weight: 10 },
];
for (const { name, count, mix, seed, weight } of WORST_MOVES) {
  test(`buildTable() moves at most 0.35 % more than a member takes, ${name}`, () => {
    const before = buildTable(randomPool(count, mix, randomFrom(seed)));
    const moved = unneeded(before, weight);
    assert.ok(moved <= allowedMoves(before, weight), `${moved} of the buckets moved without need`);
  });
}

forPlans("buildTable() spreads an owner's buckets over all others by weight", (plan) => {
  const pool = plan.members;
  const count = pool.length;
  const sum = pool.reduce((total, { weight }) => total + weight, 0);
  const taken = new Uint32Array(count * count);
  const owned = new Uint32Array(count);
  for (let bucket = 0; bucket < plan.size; bucket++) {
    owned[plan.base[bucket]!]!++;
    taken[plan.base[bucket]! * count + plan.second[bucket]!]!++;
  }
  for (let owner = 0; owner < count; owner++) {
    for (let other = 0; other < count; other++) {
      const own = taken[owner * count + other]!;
      const others = sum - pool[owner]!.weight;
      const share = owner === other ? 0 : (owned[owner]! * pool[other]!.weight) / others;
      // Asserted only when it fails: there are a million pairs.
      if (Math.abs(own - share) < (owner === other ? 1e-6 : 1 + 1e-6)) continue;
      assert.fail(`${own} of ${share} from ${owner} to ${other}`);
    }
  }
});

test("ownersOf() orders by race beyond the second choice, by either way of finding it", () => {
  const random = randomFrom(SEED);
  const plan = buildTable(randomPool(200, "mixed", random));
  // Few usable: everyone is asked. Many buckets and many usable: the race is run.
  const few = without(plan, 197, random);
  const many = without(plan, 100, random);
  const union = new Set([...few, ...many]);
  const [a, b, both] = [few, many, union].map((usable) => ownersOf(plan, usable));
  for (let bucket = 0; bucket < plan.size; bucket++) {
    const owner = both![bucket]!;
    if (few.has(owner)) assert.equal(a![bucket], owner, `SEED=${SEED} bucket ${bucket}`);
    if (many.has(owner)) assert.equal(b![bucket], owner, `SEED=${SEED} bucket ${bucket}`);
  }
});

test("ownersOf() has no owner without usable members, and one owner for a pool of one", () => {
  const one = buildTable([{ name: "only", weight: 7 }]);
  assert.deepEqual(new Set(ownersOf(one, new Set([0]))), new Set([0]));
  assert.deepEqual(new Set(ownersOf(one, new Set())), new Set([NO_OWNER]));
  assert.deepEqual(new Set(ownersOf(buildTable([]), new Set())), new Set([NO_OWNER]));
});

test("buildTable() gives this table on every machine", () => {
  const pool = [3, 1, 4, 1, 5].map((weight, i) => ({ name: `web-${i}`, weight }));
  const { base, second } = buildTable(pool);
  assert.deepEqual([digest(base), digest(second)], GOLDEN);
});

/** FNV-1a over the owners: what another director would have to agree with. */
function digest(owners: Uint16Array): string {
  let hash = 0x811c9dc5;
  for (const owner of owners) hash = Math.imul(hash ^ owner, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

const GOLDEN = ["8e4bc1cb", "378c1c04"];
