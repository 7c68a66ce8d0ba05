/**
 * Which backend owns which bucket, as a pure function of a pool's configuration and its usable set.
 * Every bucket has a fixed order of preference over all members: its base owner, its second choice,
 * then the others as they arrive in the race. The owner is the first that is usable, so a backend
 * that goes or comes back moves no bucket between two others. docs/design/tables.md explains how the
 * base and second choices come about, and what they cost.
 */
import { race, visitsBefore } from "./arrivals.ts";
import { balance } from "./balance.ts";
import type { Racer } from "./racer.ts";
import { arrivalTime, copyFactor, positionOf, racersOf, visitTime } from "./racer.ts";
import { secondChoices } from "./second.ts";
import { tableSize } from "./table-size.ts";
import { POSITIONS } from "./tracks.ts";

/** A backend as the table sees it. The name is its identity: tables hash it. */
export interface Member {
  readonly name: string;
  /** An integer from 1 to 65 535; the share of buckets is weight / sum of weights. */
  readonly weight: number;
}

/** Owner of a bucket when nobody is usable. */
export const NO_OWNER = 0xffff;

/**
 * Who would own every bucket, for any usable set. Plain data, can be sent between threads. Owners
 * are indexes into `members`.
 */
export interface TablePlan {
  /** Buckets, a power of two from 65 536 to 2^20. */
  readonly size: number;
  readonly members: readonly Member[];
  /** Owner of each bucket when all are usable. */
  readonly base: Uint16Array;
  /** Who owns it when the base owner is not usable; `NO_OWNER` in a pool of one. */
  readonly second: Uint16Array;
}

/**
 * The plan for `members`: the same for every order of listing them, on every machine. A pool without
 * members has a table without owners.
 * @throws {ScheduleError} as `tableSize` does
 */
export function buildTable(members: readonly Member[]): TablePlan {
  const size = tableSize(members);
  const plain = members.map(({ name, weight }) => ({ name, weight }));
  const racers = racersOf(members);
  if (racers.length < 2) {
    const base = new Uint16Array(size).fill(racers.length === 0 ? NO_OWNER : 0);
    return { size, members: plain, base, second: new Uint16Array(size).fill(NO_OWNER) };
  }
  const arrivals = race(racers);
  const owners = balance(racers, arrivals, size);
  const seconds = secondChoices(racers, arrivals, owners);
  const members16 = Uint16Array.from(racers, (racer) => racer.member);
  for (let bucket = 0; bucket < size; bucket++) {
    owners[bucket] = members16[owners[bucket]!]!;
    seconds[bucket] = members16[seconds[bucket]!]!;
  }
  return { size, members: plain, base: owners, second: seconds };
}

/** The owner of every bucket when the members in `usable` (indexes) are; from scratch. */
export function ownersOf(plan: TablePlan, usable: ReadonlySet<number>): Uint16Array {
  const { size, members, base, second } = plan;
  const owners = new Uint16Array(size).fill(NO_OWNER);
  const up = Uint8Array.from(members, (_, member) => (usable.has(member) ? 1 : 0));
  const deep: number[] = [];
  for (let bucket = 0; bucket < size; bucket++) {
    const first = base[bucket]!;
    const next = second[bucket]!;
    if (up[first] === 1) owners[bucket] = first;
    else if (up[next] === 1) owners[bucket] = next;
    else deep.push(bucket);
  }
  if (deep.length === 0 || usable.size === 0) return owners;
  const racers = racersOf(members).filter((racer) => up[racer.member] === 1);
  for (const [bucket, racer] of firstAt(racers, deep, size)) owners[bucket] = racer.member;
  return owners;
}

/** Who of `racers` (by rank) is first at each of `buckets`; nobody if there are no racers. */
export function firstAt(
  racers: readonly Racer[],
  buckets: readonly number[],
  size: number,
): Map<number, Racer> {
  const first = new Map<number, Racer>();
  // Running the race costs about 6 visits a position; asking everyone costs a look at each pair.
  if (buckets.length * racers.length > 6 * size) runFor(racers, buckets, size, first);
  for (const bucket of buckets) {
    if (!first.has(bucket)) {
      const racer = earliestAt(racers, bucket);
      if (racer !== undefined) first.set(bucket, racer);
    }
  }
  return first;
}

/** Who of `racers` (by rank) is first at `bucket`, by asking each. */
function earliestAt(racers: readonly Racer[], bucket: number): Racer | undefined {
  let best = Infinity;
  let first: Racer | undefined;
  for (const racer of racers) {
    const time = arrivalTime(racer, bucket);
    if (time < best) {
      best = time;
      first = racer;
    }
  }
  return first;
}

/** Lets everyone run until 6 have come to a bucket on average: that finds all but 0.25 % of the firsts. */
function runFor(
  racers: readonly Racer[],
  buckets: readonly number[],
  size: number,
  first: Map<number, Racer>,
): void {
  const times = new Float64Array(size);
  for (const bucket of buckets) times[bucket] = Infinity;
  const winners = new Uint16Array(size);
  let sum = 0;
  for (const { weight } of racers) sum += weight;
  const end = 6 / sum;
  for (const [index, racer] of racers.entries()) {
    const visits = visitsBefore(end * racer.weight);
    const factors = Array.from({ length: size / POSITIONS }, (_, copy) => copyFactor(racer, copy));
    for (let visit = 0; visit < visits; visit++) {
      const time = visitTime(racer, visit);
      // Whoever began later than the end may still come before this one, if its phase is smaller.
      if (time >= end) break;
      const position = positionOf(racer.orders[0], visit);
      for (let copy = 0; copy < factors.length; copy++) {
        const bucket = copy * POSITIONS + position;
        const at = time * factors[copy]!;
        if (at < times[bucket]!) {
          times[bucket] = at;
          winners[bucket] = index;
        }
      }
    }
  }
  for (const bucket of buckets) {
    const racer = racers[winners[bucket]!];
    if (times[bucket]! < end && racer !== undefined) first.set(bucket, racer);
  }
}
