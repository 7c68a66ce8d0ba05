/**
 * Which positions handicaps can decide. These stay near 1, so whoever is first by a large enough
 * factor is the owner whatever the handicaps turn out to be, and finding them needs only the others:
 * a fifth of the positions in a pool of 100 and more in larger ones, with two or three arrivals each.
 */
import type { Arrivals } from "./arrivals.ts";
import { DISORDER, SLOTS } from "./arrivals.ts";
import type { Racer } from "./racer.ts";
import { clock } from "./racer.ts";
import { POSITIONS } from "./tracks.ts";

/**
 * A handicap corrects a count that is random by its root, so it is taken to be within a factor of
 * 1 + REACH / sqrt(share). With 2 or 4 instead, a newcomer moves as many buckets.
 */
const REACH = 3;

/**
 * Positions that more than one racer can win. Entries of the i-th are `starts[i]` to `starts[i + 1]`.
 * Valid until the next contest in this thread.
 */
export interface Contest {
  readonly positions: Uint32Array;
  readonly starts: Uint32Array;
  /** Rank of the racer and its time, of each entry. */
  readonly ranks: Uint16Array;
  readonly times: Float64Array;
}

/** Once per thread, as the arrivals are: most of it is never touched. */
const scratch = {
  ranks: new Uint16Array(SLOTS * 2 * POSITIONS),
  times: new Float64Array(SLOTS * 2 * POSITIONS),
};

/**
 * Splits the positions: those only one racer can win are written to `owners` (ranks, one copy) and
 * counted in `counts`, the others are returned.
 */
export function contest(
  racers: readonly Racer[],
  { counts: arrived, cells }: Arrivals,
  shares: Float64Array,
  owners: Uint16Array,
  counts: Int32Array,
): Contest {
  /** Phase, pace and reach of rank r at 4 * r: in one cache line. */
  const runners = new Float64Array(4 * racers.length);
  for (const { rank, phase, pace } of racers) {
    runners[4 * rank] = phase;
    runners[4 * rank + 1] = pace;
    runners[4 * rank + 2] = 1 + REACH / root(shares[rank]!);
  }
  const positions = new Uint32Array(arrived.length);
  const starts = new Uint32Array(arrived.length + 1);
  const { ranks, times } = scratch;
  let largest = 1;
  for (const { rank } of racers) largest = Math.max(largest, runners[4 * rank + 2]!);
  const slack = DISORDER * largest;
  let contested = 0;
  let entries = 0;
  for (let position = 0; position < arrived.length; position++) {
    const first = SLOTS * position;
    const count = arrived[position]!;
    // All go to the end of the lists; those that cannot win are then overwritten.
    /** Whoever comes later than this, its own reach allowed for, cannot be first. */
    let limit = Infinity;
    /** Nor can whoever is listed after one who comes later than this. */
    let enough = Infinity;
    let end = entries;
    for (let slot = first; slot < first + count; slot++) {
      const cell = cells[slot]!;
      const rank = cell & 0xffff;
      const time = (clock[cell >>> 16]! + runners[4 * rank]!) * runners[4 * rank + 1]!;
      if (time > enough) break;
      ranks[end] = rank;
      times[end] = time;
      end++;
      const latest = time * runners[4 * rank + 2]!;
      if (latest < limit) {
        limit = latest;
        enough = limit * slack;
      }
    }
    let kept = entries;
    for (let entry = entries; entry < end; entry++) {
      const rank = ranks[entry]!;
      const time = times[entry]!;
      if (time > limit * runners[4 * rank + 2]!) continue;
      ranks[kept] = rank;
      times[kept] = time;
      kept++;
    }
    if (kept === entries + 1) {
      const owner = ranks[entries]!;
      owners[position] = owner;
      counts[owner]!++;
    } else {
      positions[contested] = position;
      starts[contested++] = entries;
      entries = kept;
    }
  }
  starts[contested] = entries;
  return {
    positions: positions.subarray(0, contested),
    starts: starts.subarray(0, contested + 1),
    ranks: ranks.subarray(0, entries),
    times: times.subarray(0, entries),
  };
}

/** The square root of a share, by Newton's iteration: `Math.sqrt` need not be the same everywhere. */
function root(share: number): number {
  let x = 1024;
  for (let i = 0; i < 12; i++) x = (x + share / x) / 2;
  return x;
}
