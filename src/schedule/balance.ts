/**
 * Who owns every bucket when all are usable: the winner of the race, where the race is handicapped
 * just enough that every member's share is what its weight promises.
 *
 * The race alone gives shares as random as 655 +- 18 buckets. So each member gets a handicap, a
 * factor on its times, found from the counts alone. What matters is that a pool with one member more
 * or less finds nearly the same handicaps, since what they differ by moves buckets nobody needed to
 * move. Hence small steps for all at once first, towards the middle of what is allowed and with
 * falling gain, and exact steps only for the few who are still outside (docs/design/tables.md has
 * the measurements). Everything is decided in rank order, so the order of the list has no say.
 */
import type { Arrivals } from "./arrivals.ts";
import type { Contest } from "./contest.ts";
import { contest } from "./contest.ts";
import type { Racer } from "./racer.ts";
import { copyFactor, positionOf } from "./racer.ts";
import { MIN_BUCKETS_PER_MEMBER } from "./table-size.ts";
import { POSITIONS } from "./tracks.ts";

/** How far a share may be from the weight: 2 %, or one bucket. */
const TOLERANCE = 0.02;
/** Gains of the common steps. */
const GAINS = [0.5, 0.25, 0.2, 0.15, 0.15];
/**
 * A step aims this part of the table inside the tolerance, 10 of 65 536 buckets, as what it moves is
 * random too, but leaves at least this part of the tolerance alone.
 */
const MARGIN = 10 / POSITIONS;
const LEFT_ALONE = 0.2;
/** A count of nearly none says little: no step changes a handicap by more than this factor. */
const MAX_STEP = 3;
/** Rounds of exact steps; what is outside after these is a handful of buckets, moved one by one. */
const MAX_ROUNDS = 60;

interface Balance {
  readonly racers: readonly Racer[];
  /** Positions, and how many buckets each has. */
  readonly positions: number;
  readonly copies: number;
  readonly contest: Contest;
  /** Ranks, by bucket. */
  readonly owners: Uint16Array;
  /** Handicap of rank r on copy c, at `c * racers.length + r`. */
  readonly handicaps: Float64Array;
  /** Buckets of each rank, and of these the ones nobody contests. */
  readonly counts: Int32Array;
  readonly settled: Int32Array;
  /** Share in buckets, and the least and most that a count may be. */
  readonly shares: Float64Array;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
}

/** The rank that owns each bucket. Every count is within the tolerance. */
export function balance(racers: readonly Racer[], arrivals: Arrivals, size: number): Uint16Array {
  const state = start(racers, arrivals, size);
  assignAll(state);
  for (const gain of GAINS) {
    stepAll(state, gain);
    assignAll(state);
  }
  const { counts, lows, highs } = state;
  const places = placesOf(state.contest, racers.length);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let outside = 0;
    for (let rank = 0; rank < racers.length; rank++) {
      const count = counts[rank]!;
      if (count > highs[rank]!) shift(state, places, rank, count - highs[rank]!, true);
      else if (count < lows[rank]!) shift(state, places, rank, lows[rank]! - count, false);
      else continue;
      outside++;
    }
    if (outside === 0) return state.owners;
  }
  moveRest(state);
  return state.owners;
}

function start(racers: readonly Racer[], arrivals: Arrivals, size: number): Balance {
  const count = racers.length;
  const positions = arrivals.counts.length;
  const copies = size / positions;
  const shares = new Float64Array(count);
  const lows = new Int32Array(count);
  const highs = new Int32Array(count);
  const handicaps = new Float64Array(copies * count);
  let sum = 0;
  for (const { weight } of racers) sum += weight;
  for (const racer of racers) {
    const share = (size * racer.weight) / sum;
    const tolerance = Math.max(TOLERANCE * share, 1);
    shares[racer.rank] = share;
    lows[racer.rank] = Math.max(Math.ceil(share - tolerance), MIN_BUCKETS_PER_MEMBER);
    highs[racer.rank] = Math.floor(share + tolerance);
    for (let copy = 0; copy < copies; copy++) {
      handicaps[copy * count + racer.rank] = copyFactor(racer, copy);
    }
  }
  const owners = new Uint16Array(size);
  const settled = new Int32Array(count);
  const contested = contest(racers, arrivals, shares, owners, settled);
  for (let copy = 1; copy < copies; copy++) owners.copyWithin(copy * positions, 0, positions);
  for (let rank = 0; rank < count; rank++) settled[rank]! *= copies;
  const counts = new Int32Array(count);
  return {
    racers,
    positions,
    copies,
    contest: contested,
    owners,
    handicaps,
    counts,
    settled,
    shares,
    lows,
    highs,
  };
}

/** Every contested bucket to the first arrival, handicaps counted. */
function assignAll(state: Balance): void {
  const { copies, owners, counts, handicaps, racers, settled } = state;
  const { positions, starts, ranks, times } = state.contest;
  counts.set(settled);
  for (let copy = 0; copy < copies; copy++) {
    const row = copy * racers.length;
    const from = copy * state.positions;
    let entry = 0;
    for (let i = 0; i < positions.length; i++) {
      const end = starts[i + 1]!;
      let best = Infinity;
      let owner = 0;
      for (; entry < end; entry++) {
        const rank = ranks[entry]!;
        const time = times[entry]! * handicaps[row + rank]!;
        if (time < best) {
          best = time;
          owner = rank;
        }
      }
      owners[from + positions[i]!] = owner;
      counts[owner]!++;
    }
  }
}

/** One common step: whoever has too much is slowed in proportion, whoever has too little sped up. */
function stepAll(state: Balance, gain: number): void {
  const { counts, shares, racers, owners } = state;
  for (let rank = 0; rank < racers.length; rank++) {
    const share = shares[rank]!;
    const tolerance = Math.max(TOLERANCE * share, 1);
    const near = Math.max(tolerance - MARGIN * owners.length, tolerance * LEFT_ALONE);
    const count = Math.max(counts[rank]!, share / MAX_STEP);
    const wanted = Math.min(Math.max(count, share - near), share + near);
    handicap(state, rank, 1 + gain * (Math.min(count / wanted, MAX_STEP) - 1));
  }
}

function handicap({ handicaps, copies, racers }: Balance, rank: number, factor: number): void {
  for (let copy = 0; copy < copies; copy++) handicaps[copy * racers.length + rank]! *= factor;
}

/** Where each rank is in the contest: rank r at `indexes` from `starts[r]` to `starts[r + 1]`. */
interface Places {
  readonly starts: Uint32Array;
  readonly indexes: Uint32Array;
}

function placesOf({ positions, starts: entries, ranks }: Contest, count: number): Places {
  const starts = new Uint32Array(count + 1);
  for (let entry = 0; entry < ranks.length; entry++) starts[ranks[entry]! + 1]!++;
  for (let rank = 0; rank < count; rank++) starts[rank + 1]! += starts[rank]!;
  const next = starts.slice(0, count);
  const indexes = new Uint32Array(ranks.length);
  for (let i = 0; i < positions.length; i++) {
    for (let entry = entries[i]!; entry < entries[i + 1]!; entry++) {
      indexes[next[ranks[entry]!]!++] = i;
    }
  }
  return { starts, indexes };
}

/** A bucket where a rank and a rival are close: by what factor one of them would have to be slower. */
interface Close {
  bucket: number;
  gap: number;
  rival: number;
}

/**
 * Slows `rank` until the `count` buckets where its lead is smallest are the next one's (`own`), or
 * speeds it up until it is first at the `count` buckets where it lags least. The handicap is the one
 * that moves these and no others: halfway to the next gap.
 */
function shift(state: Balance, places: Places, rank: number, count: number, own: boolean): void {
  const {
    copies,
    owners,
    contest: { positions },
  } = state;
  /** Smallest gap first, one more than asked for. */
  const found: Close[] = [];
  const close: Close = { bucket: 0, gap: 0, rival: 0 };
  for (let place = places.starts[rank]!; place < places.starts[rank + 1]!; place++) {
    const index = places.indexes[place]!;
    for (let copy = 0; copy < copies; copy++) {
      close.bucket = copy * state.positions + positions[index]!;
      if ((owners[close.bucket] === rank) !== own) continue;
      compare(state, rank, index, copy, own, close);
      if (found.length > count && close.gap >= found[count]!.gap) continue;
      let at = found.length;
      while (at > 0 && found[at - 1]!.gap > close.gap) at--;
      found.splice(at, 0, { ...close });
      if (found.length > count + 1) found.pop();
    }
  }
  const moved = found.slice(0, count);
  for (const { bucket, rival } of moved) give(state, bucket, own ? rival : rank);
  const last = moved.at(-1)?.gap ?? 1;
  const gap = (last + (found[count]?.gap ?? last)) / 2;
  handicap(state, rank, own ? gap : 1 / gap);
}

/** Fills in the gap of `rank` to the best of the others at the i-th contested position. */
function compare(
  { racers, handicaps, contest: { starts, ranks, times } }: Balance,
  rank: number,
  index: number,
  copy: number,
  own: boolean,
  close: Close,
): void {
  const row = copy * racers.length;
  const end = starts[index + 1]!;
  let mine = Infinity;
  let best = Infinity;
  for (let entry = starts[index]!; entry < end; entry++) {
    const other = ranks[entry]!;
    const time = times[entry]! * handicaps[row + other]!;
    if (other === rank) mine = time;
    else if (time < best) {
      best = time;
      close.rival = other;
    }
  }
  close.gap = own ? best / mine : mine / best;
}

function give({ owners, counts }: Balance, bucket: number, rank: number): void {
  counts[owners[bucket]!]!--;
  owners[bucket] = rank;
  counts[rank]!++;
}

/**
 * Ends what the rounds left: whoever lacks a bucket takes it from one who can spare it, then whoever
 * has one too many gives it to one with room, each time the first in its own order of visits.
 */
function moveRest(state: Balance): void {
  const { racers, owners, counts, lows, highs } = state;
  /** The first buckets on `racer`'s way whose owner `mayGive`, while `wants`. */
  const pull = (racer: Racer, wants: () => boolean, mayGive: (owner: number) => boolean): void => {
    for (let visit = 0; visit < POSITIONS && wants(); visit++) {
      const position = positionOf(racer.orders[0], visit);
      for (let bucket = position; bucket < owners.length && wants(); bucket += POSITIONS) {
        const owner = owners[bucket]!;
        if (owner !== racer.rank && mayGive(owner)) give(state, bucket, racer.rank);
      }
    }
  };
  for (const racer of racers) {
    const { rank } = racer;
    pull(
      racer,
      () => counts[rank]! < lows[rank]!,
      (owner) => counts[owner]! > lows[owner]!,
    );
  }
  for (const { rank } of racers) {
    for (const racer of racers) {
      if (counts[rank]! <= highs[rank]!) break;
      pull(
        racer,
        () => counts[rank]! > highs[rank]! && counts[racer.rank]! < highs[racer.rank]!,
        (owner) => owner === rank,
      );
    }
  }
}
