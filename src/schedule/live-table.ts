/**
 * The owners of a pool's buckets while its backends come and go. A change costs in proportion to the
 * buckets of the backend that changed, not to the table: what it owns is a linked list, what it
 * would own is known from the plan, and only buckets with both choices down ("deep") are looked up.
 */
import { arrivalTime, positionOf, racersOf } from "./racer.ts";
import type { Racer } from "./racer.ts";
import { visitsBefore } from "./arrivals.ts";
import { firstAt, NO_OWNER, ownersOf } from "./table.ts";
import type { TablePlan } from "./table.ts";
import { POSITIONS } from "./tracks.ts";

/** Ends a list of buckets. */
const NONE = -1;

/** After any changes `owners` is what `ownersOf` gives for the same usable set. */
export class LiveTable {
  readonly plan: TablePlan;
  /** Owner of each bucket now, or `NO_OWNER`. Written by `setUsable` only. */
  readonly owners: Uint16Array;
  /** Buckets each member owns now. */
  readonly counts: Uint32Array;
  readonly #usable = new Set<number>();
  /** Indexed by owner or `NO_OWNER`, hence its size; 1 if usable. */
  readonly #up = new Uint8Array(NO_OWNER + 1);
  /** Racers by rank, and where to find a member's. */
  readonly #racers: readonly Racer[];
  readonly #racerOf: readonly Racer[];
  readonly #first: Grouped;
  readonly #second: Grouped;
  /** Doubly linked lists of the buckets each member owns. */
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Buckets with first and second choice down. */
  readonly #deep = new Set<number>();
  /** No owner of a deep bucket arrived there later than this. */
  #latest = 0;

  /** @throws {RangeError} if `usable` holds what is not an index into the plan's members */
  constructor(plan: TablePlan, usable: Iterable<number>) {
    this.plan = plan;
    const { members, size } = plan;
    for (const member of usable) {
      this.#checkMember(member);
      this.#usable.add(member);
      this.#up[member] = 1;
    }
    this.#racers = racersOf(members);
    this.#racerOf = this.#racers.toSorted((a, b) => a.member - b.member);
    this.#first = grouped(plan.base, members.length);
    this.#second = grouped(plan.second, members.length);
    this.owners = ownersOf(plan, this.#usable);
    this.counts = new Uint32Array(members.length);
    this.#heads = new Int32Array(members.length).fill(NONE);
    this.#next = new Int32Array(size).fill(NONE);
    this.#previous = new Int32Array(size).fill(NONE);
    for (let bucket = 0; bucket < size; bucket++) {
      const owner = this.owners[bucket]!;
      this.owners[bucket] = NO_OWNER;
      this.#settle(bucket, owner);
    }
  }

  /** Indexes of the members that are usable now. */
  get usable(): ReadonlySet<number> {
    return this.#usable;
  }

  /**
   * Says whether a member is usable from now on; returns the buckets whose owner changed, in no
   * order, none if nothing is new.
   * @throws {RangeError} if `member` is not an index into the plan's members
   */
  setUsable(member: number, usable: boolean): Uint32Array {
    this.#checkMember(member);
    if (this.#usable.has(member) === usable) return new Uint32Array(0);
    this.#up[member] = usable ? 1 : 0;
    if (usable) this.#usable.add(member);
    else this.#usable.delete(member);
    return usable ? this.#comesBack(member) : this.#goes(member);
  }

  #goes(member: number): Uint32Array {
    const moved = new Uint32Array(this.counts[member]!);
    let count = 0;
    for (let bucket = this.#heads[member]!; bucket !== NONE; bucket = this.#next[bucket]!) {
      moved[count++] = bucket;
    }
    const deep: number[] = [];
    for (const bucket of moved) {
      const first = this.plan.base[bucket]!;
      const second = this.plan.second[bucket]!;
      if (this.#up[first] === 1) this.#settle(bucket, first);
      else if (this.#up[second] === 1) this.#settle(bucket, second);
      else deep.push(bucket);
    }
    if (deep.length === 0) return moved;
    const racers = this.#racers.filter((racer) => this.#up[racer.member] === 1);
    const firsts = firstAt(racers, deep, this.plan.size);
    for (const bucket of deep) this.#settle(bucket, firsts.get(bucket)?.member ?? NO_OWNER);
    return moved;
  }

  #comesBack(member: number): Uint32Array {
    const moved: number[] = [];
    const take = (bucket: number) => {
      moved.push(bucket);
      this.#settle(bucket, member);
    };
    for (const bucket of groupOf(this.#first, member)) take(bucket);
    for (const bucket of groupOf(this.#second, member)) {
      if (this.#up[this.plan.base[bucket]!] === 0) take(bucket);
    }
    for (const bucket of this.#deepOnTheWayOf(member)) {
      if (this.#isBefore(member, this.owners[bucket]!, bucket)) take(bucket);
    }
    return Uint32Array.from(moved);
  }

  /** All deep buckets, or those the member visits before `latest` if these are fewer to look at. */
  #deepOnTheWayOf(member: number): Iterable<number> {
    const racer = this.#racerOf[member]!;
    const copies = this.plan.size / POSITIONS;
    const visits = visitsBefore(this.#latest * racer.weight);
    if (this.#deep.size <= visits * copies) return [...this.#deep];
    const found: number[] = [];
    for (let visit = 0; visit < visits; visit++) {
      for (let copy = 0; copy < copies; copy++) {
        const bucket = copy * POSITIONS + positionOf(racer.orders[0], visit);
        if (this.#deep.has(bucket)) found.push(bucket);
      }
    }
    return found;
  }

  #isBefore(member: number, owner: number, bucket: number): boolean {
    if (owner === NO_OWNER) return true;
    const racer = this.#racerOf[member]!;
    const other = this.#racerOf[owner]!;
    const time = arrivalTime(racer, bucket);
    const otherTime = arrivalTime(other, bucket);
    return time < otherTime || (time === otherTime && racer.rank < other.rank);
  }

  /** Gives a bucket to `owner`, and notes whether it is deep now. */
  #settle(bucket: number, owner: number): void {
    const previous = this.owners[bucket]!;
    if (previous !== NO_OWNER) this.#unlink(bucket, previous);
    this.owners[bucket] = owner;
    if (owner !== NO_OWNER) this.#link(bucket, owner);
    if (this.#up[this.plan.base[bucket]!] === 1 || this.#up[this.plan.second[bucket]!] === 1) {
      if (this.#deep.delete(bucket) && this.#deep.size === 0) this.#latest = 0;
      return;
    }
    this.#deep.add(bucket);
    const time = owner === NO_OWNER ? Infinity : arrivalTime(this.#racerOf[owner]!, bucket);
    this.#latest = Math.max(this.#latest, time);
  }

  #link(bucket: number, owner: number): void {
    const head = this.#heads[owner]!;
    this.#next[bucket] = head;
    this.#previous[bucket] = NONE;
    if (head !== NONE) this.#previous[head] = bucket;
    this.#heads[owner] = bucket;
    this.counts[owner]!++;
  }

  #unlink(bucket: number, owner: number): void {
    const next = this.#next[bucket]!;
    const previous = this.#previous[bucket]!;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous === NONE) this.#heads[owner] = next;
    else this.#next[previous] = next;
    this.counts[owner]!--;
  }

  #checkMember(member: number): void {
    const count = this.plan.members.length;
    if (!Number.isInteger(member) || member < 0 || member >= count) {
      throw new RangeError(`Cannot set whether member ${member} is usable: the pool has ${count}`);
    }
  }
}

/** Buckets by owner: those of owner o are `buckets` from `starts[o]` to `starts[o + 1]`. */
interface Grouped {
  readonly starts: Uint32Array;
  readonly buckets: Uint32Array;
}

function grouped(owners: Uint16Array, count: number): Grouped {
  const starts = new Uint32Array(count + 1);
  for (const owner of owners) if (owner !== NO_OWNER) starts[owner + 1]!++;
  for (let owner = 0; owner < count; owner++) starts[owner + 1]! += starts[owner]!;
  const next = starts.slice(0, count);
  const buckets = new Uint32Array(starts[count]!);
  for (let bucket = 0; bucket < owners.length; bucket++) {
    const owner = owners[bucket]!;
    if (owner !== NO_OWNER) buckets[next[owner]!++] = bucket;
  }
  return { starts, buckets };
}

function groupOf({ starts, buckets }: Grouped, owner: number): Uint32Array {
  return buckets.subarray(starts[owner], starts[owner + 1]);
}
