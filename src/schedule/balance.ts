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
import { SLOTS } from "./arrivals.ts";
import type { Racer } from "./racer.ts";
import { copyFactor, POSITIONS, positionOf } from "./racer.ts";
import { MIN_BUCKETS_PER_MEMBER } from "./table-size.ts";

/** How far a share may be from the weight: 2 %, or one bucket. */
const TOLERANCE = 0.02;
/** Gains of the common steps. */
const GAINS = [0.7, 0.2, 0.2, 0.15, 0.15];
/**
 * A step aims this many buckets inside the tolerance, as what it moves is random too, but leaves at
 * least this part of the tolerance alone.
 */
const MARGIN_BUCKETS = 10;
const LEFT_ALONE = 0.2;
/** A count of nearly none says little: no step changes a handicap by more than this factor. */
const MAX_STEP = 3;
/** Rounds of exact steps; what is outside after these is a handful of buckets, moved one by one. */
const MAX_ROUNDS = 60;

interface Balance {
  readonly racers: readonly Racer[];
  readonly arrivals: Arrivals;
  readonly copies: number;
  /** Ranks, by bucket. */
  readonly owners: Uint16Array;
  readonly counts: Int32Array;
  /** Share in buckets, and the least and most that a count may be. */
  readonly shares: Float64Array;
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  /** Handicap of rank r on copy c, at `c * racers.length + r`. */
  readonly handicaps: Float64Array;
}

/** The rank that owns each bucket. Every count is within the tolerance when this returns. */
export function balancedOwners(
  racers: readonly Racer[],
  arrivals: Arrivals,
  size: number,
): Uint16Array {
  const balance = start(racers, arrivals, size);
  assignAll(balance);
  for (const gain of GAINS) {
    stepAll(balance, gain);
    assignAll(balance);
  }
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let outside = 0;
    for (let rank = 0; rank < racers.length; rank++) {
      const count = balance.counts[rank]!;
      if (count > balance.highs[rank]!) shed(balance, rank, count - balance.highs[rank]!);
      else if (count < balance.lows[rank]!) win(balance, rank, balance.lows[rank]! - count);
      else continue;
      outside++;
    }
    if (outside === 0) return balance.owners;
  }
  moveRest(balance);
  return balance.owners;
}

function start(racers: readonly Racer[], arrivals: Arrivals, size: number): Balance {
  const count = racers.length;
  const copies = size / POSITIONS;
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
  return {
    racers,
    arrivals,
    copies,
    owners,
    counts: new Int32Array(count),
    shares,
    lows,
    highs,
    handicaps,
  };
}

/** Every bucket to the first arrival, handicaps counted. */
function assignAll({ arrivals, copies, owners, counts, handicaps, racers }: Balance): void {
  const { ranks, times } = arrivals;
  counts.fill(0);
  for (let copy = 0; copy < copies; copy++) {
    const row = copy * racers.length;
    for (let position = 0; position < POSITIONS; position++) {
      const end = SLOTS * position + arrivals.counts[position]!;
      let best = Infinity;
      let owner = 0;
      for (let entry = SLOTS * position; entry < end; entry++) {
        const rank = ranks[entry]!;
        const time = times[entry]! * handicaps[row + rank]!;
        if (time < best) {
          best = time;
          owner = rank;
        }
      }
      owners[copy * POSITIONS + position] = owner;
      counts[owner]!++;
    }
  }
}

/** One common step: whoever has too much is slowed in proportion, whoever has too little sped up. */
function stepAll(balance: Balance, gain: number): void {
  const { counts, shares, racers } = balance;
  for (let rank = 0; rank < racers.length; rank++) {
    const share = shares[rank]!;
    const tolerance = Math.max(TOLERANCE * share, 1);
    const near = Math.max(tolerance - MARGIN_BUCKETS, tolerance * LEFT_ALONE);
    const count = Math.max(counts[rank]!, share / MAX_STEP);
    const wanted = Math.min(Math.max(count, share - near), share + near);
    handicap(balance, rank, 1 + gain * (Math.min(count / wanted, MAX_STEP) - 1));
  }
}

function handicap({ handicaps, copies, racers }: Balance, rank: number, factor: number): void {
  for (let copy = 0; copy < copies; copy++) handicaps[copy * racers.length + rank]! *= factor;
}

/** A bucket where a rank and a rival are close: by what factor one of them would have to be slower. */
interface Close {
  bucket: number;
  gap: number;
  rival: number;
}

/** Slows `rank` until the `count` buckets where its lead is smallest are the next one's. */
function shed(balance: Balance, rank: number, count: number): void {
  const { moved, gap } = closest(balance, rank, count, true);
  for (const { bucket, rival } of moved) give(balance, bucket, rival);
  handicap(balance, rank, gap);
}

/** Speeds `rank` up until it is first at the `count` buckets where it lags least. */
function win(balance: Balance, rank: number, count: number): void {
  const { moved, gap } = closest(balance, rank, count, false);
  for (const { bucket } of moved) give(balance, bucket, rank);
  handicap(balance, rank, 1 / gap);
}

/**
 * The `count` buckets with the smallest gap, of those `rank` owns (`own`) or came to in time behind
 * their owner, and the factor that moves these and no others: halfway to the next gap.
 */
function closest(
  balance: Balance,
  rank: number,
  count: number,
  own: boolean,
): { moved: Close[]; gap: number } {
  const { arrivals, copies, owners, racers } = balance;
  const racer = racers[rank]!;
  /** Smallest gap first, one more than asked for. */
  const found: Close[] = [];
  const close: Close = { bucket: 0, gap: 0, rival: 0 };
  for (let visit = 0; visit < arrivals.visits[rank]!; visit++) {
    const position = positionOf(racer, visit);
    for (let copy = 0; copy < copies; copy++) {
      close.bucket = copy * POSITIONS + position;
      if ((owners[close.bucket] === rank) !== own || !compare(balance, rank, own, close)) continue;
      if (found.length > count && close.gap >= found[count]!.gap) continue;
      let at = found.length;
      while (at > 0 && found[at - 1]!.gap > close.gap) at--;
      found.splice(at, 0, { ...close });
      if (found.length > count + 1) found.pop();
    }
  }
  const moved = found.slice(0, count);
  const last = moved.at(-1)?.gap ?? 1;
  return { moved, gap: (last + (found[count]?.gap ?? last)) / 2 };
}

/** Fills in the gap of `rank` to the best of the others at a bucket; false if one of the two is not there. */
function compare(balance: Balance, rank: number, own: boolean, close: Close): boolean {
  const { ranks, times, counts } = balance.arrivals;
  const position = close.bucket & (POSITIONS - 1);
  const row = (close.bucket >>> 16) * balance.racers.length;
  const end = SLOTS * position + counts[position]!;
  let mine = Infinity;
  let best = Infinity;
  for (let entry = SLOTS * position; entry < end; entry++) {
    const other = ranks[entry]!;
    const time = times[entry]! * balance.handicaps[row + other]!;
    if (other === rank) mine = time;
    else if (time < best) {
      best = time;
      close.rival = other;
    }
  }
  close.gap = own ? best / mine : mine / best;
  return mine < Infinity && best < Infinity;
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
function moveRest(balance: Balance): void {
  const { racers, owners, counts, lows, highs, copies } = balance;
  /** The first buckets on `racer`'s way whose owner `mayGive`, while `wants`. */
  const pull = (racer: Racer, wants: () => boolean, mayGive: (owner: number) => boolean): void => {
    for (let visit = 0; visit < POSITIONS && wants(); visit++) {
      for (let copy = 0; copy < copies && wants(); copy++) {
        const bucket = copy * POSITIONS + positionOf(racer, visit);
        const owner = owners[bucket]!;
        if (owner !== racer.rank && mayGive(owner)) give(balance, bucket, racer.rank);
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
