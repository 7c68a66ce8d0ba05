/**
 * A member as a runner of the race: its own fixed order of visiting all 65 536 positions, and the
 * time of each visit. Both depend on its name and weight only, never on who else is in the pool.
 *
 * The numbers are doubles, and the same to the last bit on every machine: only + - * / and
 * comparisons are used, which ECMAScript defines as IEEE 754 with one rounding and no fused
 * operations. `Math.log` and its like, which engines may approximate, are not.
 */
import { createHash } from "node:crypto";
import { POSITIONS } from "./tracks.ts";
import type { Member } from "./table.ts";

const MASK = POSITIONS - 1;

export interface Racer {
  /** Position in the `members` given. */
  readonly member: number;
  /** 0 for the first name in code unit order; decides ties, so that the order given does not. */
  readonly rank: number;
  readonly weight: number;
  /** 1 / weight: how long its step of the clock takes. */
  readonly pace: number;
  /** 0 to 1/65536, the shortest step: when after the beginning of a step it arrives. Keeps equal weights from tying. */
  readonly phase: number;
  /** In which order it visits the positions of either track. */
  readonly orders: readonly [Order, Order];
}

/**
 * A bijection of 16 bits: odd multipliers and their inverses mod 2^16, and addends. Fields, not
 * arrays: they are read per visit.
 */
export interface Order {
  readonly m0: number;
  readonly m1: number;
  readonly m2: number;
  readonly i0: number;
  readonly i1: number;
  readonly i2: number;
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
}

/** The members as racers, by rank. Names are hashed with SHA-256 as UTF-8. */
export function racersOf(members: readonly Member[]): Racer[] {
  return members
    .map(({ name, weight }, member) => ({ name, weight, member }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, weight, member }, rank) => {
      const digest = createHash("sha256").update(name, "utf8").digest();
      const phase = digest.readUInt32LE(12) / 2 ** 48;
      const orders = [orderFrom(digest, 0), orderFrom(digest, 16)] as const;
      return { member, rank, weight, pace: 1 / weight, phase, orders };
    });
}

function orderFrom(digest: Buffer, offset: number): Order {
  const key = (index: number) => digest.readUInt16LE(offset + index * 2);
  const m0 = key(0) | 1;
  const m1 = key(1) | 1;
  const m2 = key(2) | 1;
  return {
    m0,
    m1,
    m2,
    i0: inverse(m0),
    i1: inverse(m1),
    i2: inverse(m2),
    a0: key(3),
    a1: key(4),
    a2: key(5),
  };
}

/** The position of visit `visit` (0 to 65 535) on its track: three rounds of multiply and shift. */
export function positionOf(order: Order, visit: number): number {
  let x = Math.imul(visit + order.a0, order.m0) & MASK;
  x ^= x >>> 8;
  x = (Math.imul(x, order.m1) + order.a1) & MASK;
  x ^= x >>> 7;
  x = (Math.imul(x, order.m2) + order.a2) & MASK;
  return x ^ (x >>> 9);
}

/** Which visit comes to `position`: the inverse of `positionOf`. */
export function visitOf(order: Order, position: number): number {
  let x = position ^ (position >>> 9);
  x = Math.imul(x - order.a2, order.i2) & MASK;
  x ^= (x >>> 7) ^ (x >>> 14);
  x = Math.imul(x - order.a1, order.i1) & MASK;
  x ^= x >>> 8;
  return (Math.imul(x, order.i0) - order.a0) & MASK;
}

/**
 * When visit v of a racer of weight 1 begins: 1/65536 + 1/65535 + ... , v terms. That is the mean of
 * the v-th smallest of 65 536 exponential variables, so the racer of weight w is first at a bucket
 * with probability w / sum, as in weighted rendezvous hashing by logarithms, but without them.
 */
export const clock: Float64Array = (() => {
  const times = new Float64Array(POSITIONS + 1);
  for (let v = 0; v < POSITIONS; v++) times[v + 1] = (times[v] ?? 0) + 1 / (POSITIONS - v);
  return times;
})();

/** When the racer makes visit `visit`, on both tracks. */
export function visitTime({ phase, pace }: Racer, visit: number): number {
  return (clock[visit]! + phase) * pace;
}

/**
 * A factor of 1 to 1 + 2^-32 on the racer's times on a copy. Copies are the same race, so that a
 * table that grows keeps its owners; this only tells copies apart where one of them must change.
 */
export function copyFactor({ orders: [{ a0, m1 }] }: Racer, copy: number): number {
  if (copy === 0) return 1;
  let x = Math.imul(a0 + (copy << 16) + 1, 0x9e3779b1) ^ (m1 << 8);
  x = Math.imul(x ^ (x >>> 15), 0x85ebca6b);
  return 1 + (x >>> 16) / 2 ** 48;
}

/** When the racer comes to a bucket on track 0. The earlier is preferred; of two at once the lower rank. */
export function arrivalTime(racer: Racer, bucket: number): number {
  return (
    visitTime(racer, visitOf(racer.orders[0], bucket & MASK)) * copyFactor(racer, bucket >>> 16)
  );
}

/** Newton's iteration; each step doubles the correct low bits of a, its own inverse mod 8. */
function inverse(odd: number): number {
  let x = odd;
  for (let bits = 3; bits < 16; bits *= 2) x = Math.imul(x, 2 - Math.imul(odd, x)) & MASK;
  return x;
}
