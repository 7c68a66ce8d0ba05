/**
 * The early arrivals of the race at every position: enough to choose owners and second choices.
 * Looking at all racers of all positions would cost members x positions; running them only until
 * five have come to a position on average costs 5 x positions, however many members there are.
 */
import type { Racer } from "./racer.ts";
import { arrivalTime, clock, POSITIONS, positionOf, visitTime } from "./racer.ts";

/** Arrivals a position has on average; e^-5 = 0.7 % of positions have none and are looked up. */
const DEPTH = 5;
/** So many visits at least, for a member whose share is too small to visit any in time. */
const MIN_VISITS = 8;

/** Kept per position: the 8 earliest. One cache line of times; 7 % of positions see more. */
export const SLOTS = 8;

export interface Arrivals {
  /** Arrivals kept at each position; those of p are `SLOTS * p` and on, in no order of time. */
  readonly counts: Uint8Array;
  /** Rank of the racer, and its time on copy 0. */
  readonly ranks: Uint16Array;
  readonly times: Float64Array;
  /** Visits that racer r made in time: the first `visits[r]` of its order. */
  readonly visits: Uint32Array;
}

/** The arrivals of two racers or more, at least two of them at every position nobody came to in time. */
export function race(racers: readonly Racer[]): Arrivals {
  const counts = new Uint8Array(POSITIONS);
  const ranks = new Uint16Array(SLOTS * POSITIONS);
  const times = new Float64Array(SLOTS * POSITIONS);
  const visits = new Uint32Array(racers.length);
  const arrivals = { counts, ranks, times, visits };
  let sum = 0;
  for (const { weight } of racers) sum += weight;
  for (const racer of racers) {
    const { rank, weight } = racer;
    const count = Math.max(visitsBefore((DEPTH * weight) / sum), MIN_VISITS);
    visits[rank] = count;
    for (let visit = 0; visit < count; visit++) {
      const position = positionOf(racer, visit);
      const time = visitTime(racer, visit);
      const taken = counts[position]!;
      if (taken < SLOTS) {
        ranks[SLOTS * position + taken] = rank;
        times[SLOTS * position + taken] = time;
        counts[position] = taken + 1;
      } else replaceLatest(arrivals, position, rank, time);
    }
  }
  addMissed(arrivals, racers);
  return arrivals;
}

function replaceLatest({ ranks, times }: Arrivals, position: number, rank: number, time: number) {
  let latest = SLOTS * position;
  for (let entry = latest + 1; entry < SLOTS * (position + 1); entry++) {
    if (times[entry]! >= times[latest]!) latest = entry;
  }
  if (time >= times[latest]!) return;
  ranks[latest] = rank;
  times[latest] = time;
}

/** Where nobody came in time, the first two by asking every racer. */
function addMissed({ counts, ranks, times }: Arrivals, racers: readonly Racer[]): void {
  const missed: number[] = [];
  for (let position = 0; position < POSITIONS; position++) {
    if (counts[position] !== 0) continue;
    missed.push(position);
    counts[position] = 2;
    times.fill(Infinity, SLOTS * position, SLOTS * position + 2);
  }
  for (const racer of racers) {
    for (const position of missed) {
      const time = arrivalTime(racer, position);
      const first = SLOTS * position;
      if (time >= times[first + 1]!) continue;
      const entry = time < times[first]! ? first : first + 1;
      if (entry === first) {
        times[first + 1] = times[first]!;
        ranks[first + 1] = ranks[first]!;
      }
      times[entry] = time;
      ranks[entry] = racer.rank;
    }
  }
}

/** How many visits begin before `time` on the clock of weight 1. */
export function visitsBefore(time: number): number {
  let low = 0;
  let high = POSITIONS;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (clock[middle]! < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
