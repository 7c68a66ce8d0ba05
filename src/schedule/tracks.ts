/**
 * A large pool runs on a second track. A share of a few dozen positions is random by its root, and
 * evening that out is what moves buckets when a member joins; with twice the positions less is to be
 * evened out. But a table that doubles has to begin as two equal halves: with a race of its own in all
 * of the second half, the member that doubles it would move half of all buckets. So there is one only
 * at positions somebody visits early, and how early that is grows slowly with the pool. Where a
 * newcomer is the first to be early it also wins, so most of these positions come into use by going
 * to the newcomer, which is no bucket too many.
 */
import type { Racer } from "./racer.ts";

/** Positions of one track. */
export const POSITIONS = 1 << 16;
/** Pools of so many members run on one track, larger ones on two. */
const ONE_TRACK_MEMBERS = 100;
/**
 * With these, 9 % of the second half have a race of their own in a pool of 150 equal members, 28 % at
 * 300 and 87 % at 1 000. Faster, and the members just above 100 move more; slower, and those of a
 * thousand do.
 */
const PACE = 0.003;
const SLOWNESS = 300;

/** On how many tracks a pool of `members` runs; its table has 65 536 buckets for each, or more. */
export function tracksOf(members: number): 1 | 2 {
  return members > ONE_TRACK_MEMBERS ? 2 : 1;
}

/**
 * Positions of track 1 that somebody visits before this time have a race of their own. In units of
 * the mean of 1 / weight, which a newcomer changes little whatever it weighs.
 */
export function earlyEnough(racers: readonly Racer[]): number {
  const count = racers.length;
  // None yet for the member that doubles the table: that is a change of its own.
  const more = Math.max(count - ONE_TRACK_MEMBERS - 1, 0);
  let paces = 0;
  for (const { pace } of racers) paces += pace;
  return (PACE * more * paces) / (count * (count + SLOWNESS));
}
