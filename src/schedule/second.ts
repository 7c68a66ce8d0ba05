/**
 * Who takes each bucket when its owner is not usable: the first in the race, but every owner's
 * buckets are spread over the others exactly in proportion to their weights, rounded down or up.
 * So one backend that fails loads no other by more than its share of the failed one's buckets. Who
 * gets the rounding up is seen over all owners together, so that several that fail do not either.
 */
import type { Arrivals } from "./arrivals.ts";
import { SLOTS } from "./arrivals.ts";
import type { Racer } from "./racer.ts";

const NOBODY = 0xffff;
/**
 * Whoever owns a bucket more than its weight says is second choice of so many less, and the other
 * way round. Evening out what a hundredth of the members leave takes 100, more than is good when many
 * fail, so it is only as much as large pools need: there chance brings a member of 130 buckets the
 * most for what it may have too much.
 */
function lean(share: number, members: number): number {
  return Math.min(share / 3.5, 5500 / share, members / 25);
}

interface Choice {
  readonly arrivals: Arrivals;
  readonly weights: Float64Array;
  readonly heaviest: number;
  readonly seconds: Uint16Array;
  /** Buckets of the owner at hand that each other has taken. */
  readonly taken: Uint32Array;
  /** How many more of all owners' buckets each may take as rounding up. */
  readonly room: Float64Array;
  /** The ranks with room are among the first `openCount`, and get what nobody came for in turn. */
  readonly open: Uint16Array;
  openCount: number;
  turn: number;
  /** Whose turn it was of all. */
  allTurn: number;
}

/** The rank that takes each bucket next, given the rank that owns it; needs two racers at least. */
export function secondChoices(
  racers: readonly Racer[],
  arrivals: Arrivals,
  owners: Uint16Array,
): Uint16Array {
  const count = racers.length;
  const weights = Float64Array.from(racers, ({ weight }) => weight);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const { starts, buckets } = bucketsByOwner(owners, count);
  const choice: Choice = {
    arrivals,
    weights,
    heaviest: weights.reduce((most, weight) => Math.max(most, weight), 0),
    seconds: new Uint16Array(owners.length),
    taken: new Uint32Array(count),
    room: roomOf(weights, sum, owners.length, starts),
    open: Uint16Array.from(racers, ({ rank }) => rank),
    openCount: count,
    turn: 0,
    allTurn: 0,
  };
  for (let owner = 0; owner < count; owner++) {
    const own = buckets.subarray(starts[owner], starts[owner + 1]);
    choice.taken[owner] = 0xffff_ffff;
    chooseFor(choice, own, own.length / (sum - weights[owner]!));
    choice.taken[owner] = 0;
    for (const bucket of own) choice.taken[choice.seconds[bucket]!] = 0;
  }
  return choice.seconds;
}

/** How many buckets of all owners together each rank is to be second choice of; 0 or less is none. */
function roomOf(
  weights: Float64Array,
  sum: number,
  size: number,
  starts: Uint32Array,
): Float64Array {
  const room = weights.map((weight, rank) => {
    const share = (size * weight) / sum;
    return share + lean(share, weights.length) * (share - (starts[rank + 1]! - starts[rank]!));
  });
  // All are given away, so there has to be room for all.
  const all = room.reduce((total, buckets) => total + buckets, 0);
  return room.map((buckets) => (buckets * size) / all);
}

/** Chooses for the buckets of one owner, of which the others get `rate` for a unit of weight. */
function chooseFor(choice: Choice, own: Uint32Array, rate: number): void {
  let left = own;
  let lacking = 0;
  // In a large pool every share is below one bucket, and rounded down there is none to give.
  if (choice.heaviest * rate >= 1) {
    const rest: number[] = [];
    for (let i = 0; i < own.length; i++) {
      const rank = firstBelow(choice, own[i]!, rate);
      if (rank === NOBODY) rest.push(own[i]!);
      else take(choice, own[i]!, rank);
    }
    left = new Uint32Array(rest);
    lacking = lack(choice, rate);
  }
  for (let i = 0; i < left.length; i++) {
    const bucket = left[i]!;
    // What the shares rounded down still lack is kept back; the rest is rounding up.
    let rank = left.length - i > lacking ? firstWithRoom(choice, bucket, rate) : NOBODY;
    if (rank === NOBODY && lacking > 0) {
      rank = nextLacking(choice, rate);
      lacking--;
    } else if (rank === NOBODY) rank = nextOpen(choice, rate);
    take(choice, bucket, rank);
  }
}

function take({ seconds, taken, room }: Choice, bucket: number, rank: number): void {
  seconds[bucket] = rank;
  taken[rank]!++;
  room[rank]!--;
}

/** The first to come to `bucket` of those that have not got their share rounded down. */
function firstBelow({ arrivals, weights, taken }: Choice, bucket: number, rate: number): number {
  const position = bucket & (arrivals.counts.length - 1);
  const end = SLOTS * position + arrivals.counts[position]!;
  for (let slot = SLOTS * position; slot < end; slot++) {
    const rank = arrivals.cells[slot]! & 0xffff;
    if (taken[rank]! + 1 <= weights[rank]! * rate) return rank;
  }
  return NOBODY;
}

/** The first to come to `bucket` of those that may have their share rounded up. */
function firstWithRoom(choice: Choice, bucket: number, rate: number): number {
  const { arrivals, weights, taken, room } = choice;
  const position = bucket & (arrivals.counts.length - 1);
  const end = SLOTS * position + arrivals.counts[position]!;
  for (let slot = SLOTS * position; slot < end; slot++) {
    const rank = arrivals.cells[slot]! & 0xffff;
    if (room[rank]! > 0 && taken[rank]! < weights[rank]! * rate) return rank;
  }
  return NOBODY;
}

/** How many buckets the others need until each has its share rounded down. */
function lack({ weights, taken }: Choice, rate: number): number {
  let lacking = 0;
  for (let rank = 0; rank < weights.length; rank++) {
    lacking += Math.max(0, Math.floor(weights[rank]! * rate) - taken[rank]!);
  }
  return lacking;
}

function nextLacking(choice: Choice, rate: number): number {
  const { weights, taken } = choice;
  for (;;) {
    choice.turn = (choice.turn + 1) % weights.length;
    if (taken[choice.turn]! + 1 <= weights[choice.turn]! * rate) return choice.turn;
  }
}

/**
 * Whoever's turn it is of those with room; of all if none of these may have another of this owner's,
 * which happens to the last owners of a large pool.
 */
function nextOpen(choice: Choice, rate: number): number {
  const { weights, taken, room, open } = choice;
  for (let tries = choice.openCount; tries > 0; tries--) {
    choice.turn = choice.turn + 1 < choice.openCount ? choice.turn + 1 : 0;
    const rank = open[choice.turn]!;
    if (room[rank]! <= 0) open[choice.turn] = open[--choice.openCount]!;
    else if (taken[rank]! < weights[rank]! * rate) return rank;
  }
  do choice.allTurn = (choice.allTurn + 1) % weights.length;
  while (taken[choice.allTurn]! >= weights[choice.allTurn]! * rate);
  return choice.allTurn;
}

/** The buckets of owner o are `buckets` from `starts[o]` to `starts[o + 1]`. */
function bucketsByOwner(
  owners: Uint16Array,
  count: number,
): { starts: Uint32Array; buckets: Uint32Array } {
  const starts = new Uint32Array(count + 1);
  for (let bucket = 0; bucket < owners.length; bucket++) starts[owners[bucket]! + 1]!++;
  for (let owner = 0; owner < count; owner++) starts[owner + 1]! += starts[owner]!;
  const next = starts.slice(0, count);
  const buckets = new Uint32Array(owners.length);
  for (let bucket = 0; bucket < owners.length; bucket++) {
    buckets[next[owners[bucket]!]!++] = bucket;
  }
  return { starts, buckets };
}
