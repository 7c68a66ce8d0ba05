/**
 * Who takes each bucket when its owner is not usable: of the racers the earliest, but every owner's
 * buckets are spread over the others exactly in proportion to their weights, rounded down or up.
 * So one backend that fails loads no other by more than its share of the failed one's buckets.
 */
import type { Arrivals } from "./arrivals.ts";
import { SLOTS } from "./arrivals.ts";
import type { Racer } from "./racer.ts";
import { POSITIONS } from "./racer.ts";

const NOBODY = 0xffff;
/** Owners are done in groups, so that the counts of a group and the others fit a cache. */
const GROUP_CELLS = 1 << 20;

/** The rank that takes each bucket next; needs two racers at least. */
export function secondChoices(
  racers: readonly Racer[],
  arrivals: Arrivals,
  owners: Uint16Array,
): Uint16Array {
  const seconds = new Uint16Array(owners.length).fill(NOBODY);
  const count = racers.length;
  const group = Math.max(1, Math.floor(GROUP_CELLS / count));
  for (let from = 0; from < count; from += group) {
    chooseFor(racers, arrivals, owners, seconds, from, Math.min(from + group, count));
  }
  return seconds;
}

/** Chooses for the buckets of owners `from` to `to`, exclusive. */
function chooseFor(
  racers: readonly Racer[],
  arrivals: Arrivals,
  owners: Uint16Array,
  seconds: Uint16Array,
  from: number,
  to: number,
): void {
  const count = racers.length;
  const weights = Uint16Array.from(racers, (racer) => racer.weight);
  const rates = ratesOf(racers, owners);
  const heaviest = weights.reduce((most, weight) => Math.max(most, weight), 0);
  /** How many buckets of an owner each other has taken, a row per owner. */
  const taken = new Int32Array((to - from) * count);
  const left: number[] = [];
  const leftOf = new Int32Array(count);
  for (let bucket = 0; bucket < owners.length; bucket++) {
    const owner = owners[bucket]!;
    if (owner < from || owner >= to) continue;
    const row = (owner - from) * count;
    const rate = rates[owner]!;
    // In a large pool every share is below one bucket, and rounded down there is none to give.
    const whole = heaviest * rate < 1 ? 0 : 1;
    const rank = earliest(arrivals, weights, bucket, owner, taken, row, rate, whole);
    if (rank === NOBODY) {
      left.push(bucket);
      leftOf[owner]!++;
    } else {
      seconds[bucket] = rank;
      taken[row + rank]!++;
    }
  }
  // What the shares rounded down still lack comes first; the rest is rounding up.
  const lacking = new Int32Array(count);
  const cursors = new Uint16Array(count);
  for (let owner = from; owner < to; owner++) {
    cursors[owner] = (owner + 1) % count;
    if (leftOf[owner]! > 0) {
      lacking[owner] = lack(weights, owner, taken, (owner - from) * count, rates[owner]!);
    }
  }
  for (const bucket of left) {
    const owner = owners[bucket]!;
    const row = (owner - from) * count;
    const rate = rates[owner]!;
    let rank = NOBODY;
    if (leftOf[owner]! > lacking[owner]!) {
      rank = earliest(arrivals, weights, bucket, owner, taken, row, rate, 0);
    }
    if (rank === NOBODY) {
      const whole = lacking[owner]! > 0 ? 1 : 0;
      rank = cursors[owner]!;
      while (rank === owner || !fits(taken[row + rank]!, weights[rank]! * rate, whole)) {
        rank = (rank + 1) % count;
      }
      cursors[owner] = rank;
      lacking[owner]! -= whole;
    }
    seconds[bucket] = rank;
    taken[row + rank]!++;
    leftOf[owner]!--;
  }
}

/** Buckets of each owner for a unit of another's weight. */
function ratesOf(racers: readonly Racer[], owners: Uint16Array): Float64Array {
  const counts = new Float64Array(racers.length);
  for (let bucket = 0; bucket < owners.length; bucket++) counts[owners[bucket]!]!++;
  let sum = 0;
  for (const { weight } of racers) sum += weight;
  return counts.map((count, rank) => count / (sum - racers[rank]!.weight));
}

/**
 * The first racer at `bucket`, not its owner, that can take one more: within its share rounded down
 * (`whole` 1) or up (`whole` 0). NOBODY if none of those that came in time can.
 */
function earliest(
  arrivals: Arrivals,
  weights: Uint16Array,
  bucket: number,
  owner: number,
  taken: Int32Array,
  row: number,
  rate: number,
  whole: 0 | 1,
): number {
  const { counts, ranks, times } = arrivals;
  const position = bucket & (POSITIONS - 1);
  const end = SLOTS * position + counts[position]!;
  let best = Infinity;
  let first = NOBODY;
  for (let entry = SLOTS * position; entry < end; entry++) {
    const time = times[entry]!;
    if (time >= best) continue;
    const rank = ranks[entry]!;
    if (rank === owner || !fits(taken[row + rank]!, weights[rank]! * rate, whole)) continue;
    best = time;
    first = rank;
  }
  return first;
}

/** Whether one more than `count` is at most `share` rounded down (`whole` 1) or up (0). */
function fits(count: number, share: number, whole: 0 | 1): boolean {
  return whole === 1 ? count + 1 <= share : count < share;
}

/** How many buckets of `owner` the others need until each has its share rounded down. */
function lack(
  weights: Uint16Array,
  owner: number,
  taken: Int32Array,
  row: number,
  rate: number,
): number {
  let lacking = 0;
  for (let rank = 0; rank < weights.length; rank++) {
    const missing = Math.floor(weights[rank]! * rate) - taken[row + rank]!;
    if (rank !== owner && missing > 0) lacking += missing;
  }
  return lacking;
}
