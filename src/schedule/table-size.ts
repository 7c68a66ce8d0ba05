/** How many buckets a pool needs, and which pools are refused. */
import { ScheduleError } from "./schedule-error.ts";
import type { Member } from "./table.ts";
import { tracksOf } from "./tracks.ts";

/** For each track: 100 equal members have 655 buckets each. Never smaller, so most pools never resize. */
const MIN_TABLE_SIZE = 1 << 16;
/** 4 MiB of the arena for a table. */
const MAX_TABLE_SIZE = 1 << 20;
/** Fewer buckets than this and a share of 1 bucket more or less is no share at all. */
export const MIN_BUCKETS_PER_MEMBER = 4;
const MAX_WEIGHT = 0xffff;
/** An owner is 16 bits and 0xffff says "nobody". */
const MAX_MEMBERS = 0xffff;

/**
 * The number of buckets: the smallest power of two from 65 536, or 131 072 for more than 100 members,
 * to 2^20 in which the smallest weight has a share of at least 4 buckets.
 * @throws {ScheduleError} if a name is empty or used twice, a weight is not an integer from 1 to
 * 65 535, there are more than 65 535 members, or no table is large enough for the smallest weight
 */
export function tableSize(members: readonly Member[]): number {
  refuseBadMembers(members);
  if (members.length === 0) return MIN_TABLE_SIZE;
  let sum = 0;
  let smallest = MAX_WEIGHT;
  for (const { weight } of members) {
    sum += weight;
    smallest = Math.min(smallest, weight);
  }
  for (let size = tracksOf(members.length) * MIN_TABLE_SIZE; size <= MAX_TABLE_SIZE; size *= 2) {
    if (size * smallest >= MIN_BUCKETS_PER_MEMBER * sum) return size;
  }
  throw tooSkewed(members, sum, smallest);
}

function refuseBadMembers(members: readonly Member[]): void {
  if (members.length > MAX_MEMBERS) {
    throw new ScheduleError(
      "MEMBER_COUNT",
      `Cannot build a table for ${members.length} members: a pool holds at most ${MAX_MEMBERS}`,
    );
  }
  const names = new Set<string>();
  for (const { name, weight } of members) {
    if (name === "") {
      throw new ScheduleError("NAME", "Cannot build a table: a member has an empty name");
    }
    if (names.has(name)) {
      throw new ScheduleError("NAME", `Cannot build a table: two members are named "${name}"`);
    }
    names.add(name);
    if (!Number.isInteger(weight) || weight < 1 || weight > MAX_WEIGHT) {
      throw new ScheduleError(
        "WEIGHT",
        `Cannot build a table: "${name}" has weight ${weight}, a weight is an integer from 1 to ${MAX_WEIGHT}`,
      );
    }
  }
}

/** The sentence names a weight that would do, so that nobody has to try. */
function tooSkewed(members: readonly Member[], sum: number, smallest: number): ScheduleError {
  const name = members.find((m) => m.weight === smallest)?.name ?? "";
  const enough = MAX_TABLE_SIZE / MIN_BUCKETS_PER_MEMBER;
  // Raising the smallest raises the sum too: w * enough >= sum - atSmallest * (smallest - w).
  const atSmallest = members.filter((m) => m.weight === smallest).length;
  const rest = sum - atSmallest * smallest;
  const works = enough > atSmallest ? Math.ceil(rest / (enough - atSmallest)) : Infinity;
  // The others at the smallest weight are raised as well; the next smallest may then be the one.
  const advice =
    works <= MAX_WEIGHT
      ? `give every member at least weight ${raiseAll(members, works, enough)}, or divide the larger weights`
      : "make the weights more alike or split the pool";
  return new ScheduleError(
    "TABLE_SIZE",
    `Cannot build a table: weight ${smallest} of "${name}" is less than ${MIN_BUCKETS_PER_MEMBER} of ${MAX_TABLE_SIZE} buckets, ` +
      `the weights sum to ${sum}; ${advice}`,
  );
}

/** The smallest floor for all weights with which the pool has a table. */
function raiseAll(members: readonly Member[], from: number, enough: number): number {
  let floor = from;
  for (;;) {
    let sum = 0;
    for (const { weight } of members) sum += Math.max(weight, floor);
    if (floor * enough >= sum) return floor;
    floor = Math.max(floor + 1, Math.ceil(sum / enough));
  }
}
