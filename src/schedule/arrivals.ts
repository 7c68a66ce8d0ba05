/**
 * The early arrivals of the race at every position: enough to choose owners and second choices.
 * Looking at all racers of all positions would cost members x positions; running them only until
 * five have come to a position on average costs 5 x positions, however many members there are.
 */
import type { Racer } from "./racer.ts";
import { clock, positionOf, visitOf, visitTime } from "./racer.ts";
import { earlyEnough, POSITIONS, tracksOf } from "./tracks.ts";

/**
 * Arrivals a position has on average when each stage ends. All run to the end of a stage before any
 * goes on, so a position's arrivals are in order of time but for those within a stage.
 */
const STAGES = [0.06, 0.12, 0.25, 0.5, 0.75, 1, 1.4, 2, 2.8, 4, 5];
/** Of two arrivals listed in the wrong order, the earlier is earlier by less than this factor. */
export const DISORDER = 2.1;
/** By then e^-5 = 0.7 % of positions have seen nobody, and only for these all run on to here. */
const LAST_STAGE = 8;
/** So many visits at least, for a member whose share is too small to visit any in time. */
const MIN_VISITS = 8;

/** Kept per position, in order of stages. Half a cache line; 7 % of positions see more. */
export const SLOTS = 8;
/** Added to a count: no more arrivals wanted. */
const CLOSED = 0x80;

export interface Arrivals {
  /** Arrivals kept at each position; those of p are `SLOTS * p` and on. */
  readonly counts: Uint8Array;
  /** Which visit of which racer: visit << 16 | rank. Its time follows from that and is not kept. */
  readonly cells: Uint32Array;
}

/** 4 MiB, once per thread: to take and return them for each table costs as much as the race. */
const cells = new Uint32Array(SLOTS * 2 * POSITIONS);

/**
 * The arrivals of two racers or more, one or more at every position of the tracks they run on. They
 * are valid until the next race in this thread.
 */
export function race(racers: readonly Racer[]): Arrivals {
  const counts = new Uint8Array(tracksOf(racers.length) * POSITIONS);
  const arrivals = { counts, cells };
  const shared = sharedPositions(racers, counts.subarray(POSITIONS));
  const visits = new Uint32Array(racers.length);
  for (const depth of STAGES)
    runTo(arrivals, racers, visits, depth, depth === STAGES.at(-1) ? MIN_VISITS : 0);
  for (let position = 0; position < counts.length; position++) {
    if (counts[position]! > 0) counts[position]! |= CLOSED;
  }
  runTo(arrivals, racers, visits, LAST_STAGE, MIN_VISITS);
  for (let position = 0; position < counts.length; position++) counts[position]! &= ~CLOSED;
  addMissed(arrivals, racers);
  for (const position of shared) {
    const from = SLOTS * position;
    cells.copyWithin(from + SLOTS * POSITIONS, from, from + SLOTS);
    counts[POSITIONS + position] = counts[position]!;
  }
  return arrivals;
}

/** All racers up to a stage, of `least` visits at least; `visits` has how many each has made. */
function runTo(
  arrivals: Arrivals,
  racers: readonly Racer[],
  visits: Uint32Array,
  depth: number,
  least: number,
): void {
  let sum = 0;
  for (const { weight } of racers) sum += weight;
  /** Visits by weight. */
  const ends = new Map<number, number>();
  for (const racer of racers) {
    const { rank, weight } = racer;
    const end = ends.get(weight) ?? Math.max(visitsBefore((depth * weight) / sum), least);
    ends.set(weight, end);
    run(arrivals, racer, visits[rank]!, end);
    visits[rank] = end;
  }
}

/** Visits `from` to `to`, exclusive, on every track. */
function run({ counts, cells }: Arrivals, racer: Racer, from: number, to: number): void {
  const { rank, orders } = racer;
  for (let start = 0; start < counts.length; start += POSITIONS) {
    const order = orders[start === 0 ? 0 : 1];
    for (let visit = from; visit < to; visit++) {
      const position = start + positionOf(order, visit);
      const taken = counts[position]!;
      if (taken >= SLOTS) continue;
      cells[SLOTS * position + taken] = (visit << 16) | rank;
      counts[position] = taken + 1;
    }
  }
}

/**
 * The positions of track 1 where nobody comes early enough: they repeat those of track 0. Their
 * `counts` are filled, so that nobody is noted there.
 */
function sharedPositions(racers: readonly Racer[], counts: Uint8Array): Uint16Array {
  if (counts.length === 0) return new Uint16Array(0);
  const end = earlyEnough(racers);
  counts.fill(SLOTS);
  for (const { weight, phase, orders } of racers) {
    const visits = visitsBefore(end * weight - phase);
    for (let visit = 0; visit < visits; visit++) counts[positionOf(orders[1], visit)] = 0;
  }
  const shared = new Uint16Array(POSITIONS);
  let count = 0;
  for (let position = 0; position < POSITIONS; position++) {
    if (counts[position]! > 0) shared[count++] = position;
  }
  return shared.subarray(0, count);
}

/** Where nobody came, the first two by asking every racer. */
function addMissed({ counts, cells }: Arrivals, racers: readonly Racer[]): void {
  for (let position = counts.indexOf(0); position >= 0; position = counts.indexOf(0, position)) {
    let first = Infinity;
    let second = Infinity;
    const slot = SLOTS * position;
    const track = position < POSITIONS ? 0 : 1;
    for (const racer of racers) {
      const visit = visitOf(racer.orders[track], position & (POSITIONS - 1));
      const time = visitTime(racer, visit);
      if (time >= second) continue;
      const cell = (visit << 16) | racer.rank;
      if (time < first) {
        second = first;
        cells[slot + 1] = cells[slot]!;
        first = time;
        cells[slot] = cell;
      } else {
        second = time;
        cells[slot + 1] = cell;
      }
    }
    counts[position] = 2;
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
