/**
 * User space's half of the service index (`service-index.ts` says what it is): finds a slot for every
 * key so that no two share one. Where keys lie depends on nothing else, so a plan is made once and
 * written again whenever what the slots say changes.
 *
 * Keys are counted in ten thousands and this runs on the main thread: so numbers of 64 bits are pairs
 * of 32 here, and no object is made for a key.
 */
import {
  type FamilyLayout,
  type FamilyShape,
  type IndexShape,
  indexLayout,
} from "../../model/arena-size.ts";
import type { FlowHashKey } from "../flow-hash.ts";
import { FIVE_TUPLE, HashWords, IndexHead, ServiceSlot } from "../layout.ts";
import {
  BUCKET_SHIFT,
  M1,
  M2,
  M3,
  type ServiceKey,
  type ServiceTarget,
  SLOT_SCALE,
  SLOT_SHIFT,
} from "./service-index.ts";

/** Where each key of an index lies. */
export interface IndexPlan {
  /** Bytes of the index. */
  readonly size: number;
  readonly seed: bigint;
  /** Five words a key, as the slot holds them: `key0`, `key1`, low halves first, and `key2`. */
  readonly words: Uint32Array;
  /** What each key adds to the flow hash, two words, low half first. */
  readonly hashSums: Uint32Array;
  /** Offset of each key's slot from the start of the index. */
  readonly slotAt: Uint32Array;
  readonly ipv4: FamilyPlan;
  readonly ipv6: FamilyPlan;
}

interface FamilyPlan {
  readonly layout: FamilyLayout;
  /** As they lie in memory: scaled to bytes of a slot. */
  readonly displacements: Uint32Array;
}

/** Most indexes take the first seed, none of those the tests build more than a few. */
const SEEDS_MAX = 64;

/**
 * Finds the places of `keys` in an index of this shape.
 * @throws {RangeError} when two keys are the same, or the shape has no room for them
 */
export function planIndex(
  keys: readonly ServiceKey[],
  shape: IndexShape,
  hashKey: FlowHashKey,
): IndexPlan {
  const words = wordsOf(keys);
  const mixed = mixedOf(keys, words);
  const own: readonly [Uint32Array, Uint32Array] = [ofFamily(keys, 4), ofFamily(keys, 6)];
  const hashSums = hashSumsOf(keys, words, hashKey);
  for (let attempt = 1; attempt <= SEEDS_MAX; attempt += 1) {
    const seed = seedOf(BigInt(attempt));
    const ipv4 = placeFamily(own[0], words, mixed, seed, shape.ipv4);
    const ipv6 = ipv4 && placeFamily(own[1], words, mixed, seed, shape.ipv6);
    if (ipv4 === null || ipv6 === null) continue;
    return { seed, words, hashSums, ...assemble(shape, own, [ipv4, ipv6]) };
  }
  throw new Error(
    `Cannot index ${keys.length} services: none of ${SEEDS_MAX} seeds keeps them apart`,
  );
}

/**
 * Writes the index into `out`, zeros of `plan.size` bytes. `targetOf` gives what the slot of a key, by
 * its number, says; `null` leaves that zero.
 */
export function writeIndex(
  plan: IndexPlan,
  targetOf: (key: number) => ServiceTarget | null,
  out: Uint8Array,
): void {
  const { ipv4, ipv6 } = plan;
  IndexHead.write(out, { seed: plan.seed });
  // Kernel and user space are of one byte order: that of the machine.
  const memory = new Uint32Array(out.buffer, out.byteOffset, out.byteLength >> 2);
  for (const { layout, displacements } of [ipv4, ipv6]) {
    const { slots, slotsAt, displacementsAt } = layout;
    memory.set(displacements, displacementsAt >> 2);
    // One unused slot, copied over as many as there are, twice as many each time.
    ServiceSlot.write(out, UNUSED_KEY, slotsAt);
    for (let done = ServiceSlot.size; done < slots * ServiceSlot.size; done *= 2) {
      out.copyWithin(slotsAt + done, slotsAt, slotsAt + done);
    }
  }
  const { words, hashSums, slotAt } = plan;
  for (let key = 0; key < slotAt.length; key += 1) {
    const at = (slotAt[key] ?? 0) >> 2;
    const from = key * KEY_WORDS;
    memory[at + KEY0] = words[from] ?? 0;
    memory[at + KEY0 + 1] = words[from + 1] ?? 0;
    memory[at + KEY1] = words[from + 2] ?? 0;
    memory[at + KEY1 + 1] = words[from + 3] ?? 0;
    memory[at + KEY2] = words[from + 4] ?? 0;
    memory[at + HASH_SUM] = hashSums[key * 2] ?? 0;
    memory[at + HASH_SUM + 1] = hashSums[key * 2 + 1] ?? 0;
    const target = targetOf(key);
    if (target === null) continue;
    memory[at + BUCKETS] = target.buckets;
    memory[at + BUCKET_MASK] = target.bucketMask;
    memory[at + MEMBERS] = target.members;
    memory[at + COUNTER] = target.counter;
    memory[at + HASH_WORDS] = target.hashWords;
    memory[at + WIDE] = target.wide;
    memory[at + CODE_POINTS] = target.codePoints;
  }
}

const word = (field: keyof typeof ServiceSlot.offsets): number => ServiceSlot.offsets[field] >> 2;
const KEY0 = word("key0");
const KEY1 = word("key1");
const KEY2 = word("key2");
const KEY_WORDS = 5;
const BUCKETS = word("buckets");
const BUCKET_MASK = word("bucketMask");
const MEMBERS = word("members");
const COUNTER = word("counter");
const HASH_WORDS = word("hashWords");
const WIDE = word("wide");
const CODE_POINTS = word("codePoints");
const HASH_SUM = word("hashSum");

/** No packet has it: ports and protocol leave the upper eight bits of `key0` or `key2` zero. */
const UNUSED_KEY = { key0: 2n ** 64n - 1n, key1: 2n ** 64n - 1n, key2: 2 ** 32 - 1 };

/** The numbers of the keys of one family. */
function ofFamily(keys: readonly ServiceKey[], family: 4 | 6): Uint32Array {
  const own = new Uint32Array(keys.length);
  let count = 0;
  keys.forEach(({ vip }, key) => {
    if (vip.family !== family) return;
    own[count] = key;
    count += 1;
  });
  return own.subarray(0, count);
}

/** The keys as the program composes them from the packet's bytes: `keyOf` in `service-index.ts`. */
function wordsOf(keys: readonly ServiceKey[]): Uint32Array {
  const words = new Uint32Array(keys.length * KEY_WORDS);
  keys.forEach(({ vip: { family, bytes }, port, protocol }, key) => {
    const at = key * KEY_WORDS;
    const rest = ((port & 0xff) << 8) | (port >> 8) | (protocol << 16);
    words[at] = wordAt(bytes, 0);
    if (family === 4) {
      words[at + 1] = rest;
      return;
    }
    words[at + 1] = wordAt(bytes, 4);
    words[at + 2] = wordAt(bytes, 8);
    words[at + 3] = wordAt(bytes, 12);
    words[at + 4] = rest;
  });
  return words;
}

const wordAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) |
  ((bytes[at + 1] ?? 0) << 8) |
  ((bytes[at + 2] ?? 0) << 16) |
  ((bytes[at + 3] ?? 0) << 24);

/** `swapBytes(mix(key))` of every key, low half first: what does not depend on the seed. */
function mixedOf(keys: readonly ServiceKey[], words: Uint32Array): Uint32Array {
  const mixed = new Uint32Array(keys.length * 2);
  const [low1, high1] = halves(M1);
  const [low2, high2] = halves(M2);
  const [low3, high3] = halves(M3);
  keys.forEach(({ vip }, key) => {
    const at = key * KEY_WORDS;
    const k0 = words[at] ?? 0;
    const k1 = words[at + 1] ?? 0;
    let low = Math.imul(k0, low1) >>> 0;
    let high = productHigh(k0, k1, low1, high1);
    if (vip.family === 6) {
      low = (low ^ high) >>> 0;
      const k2 = words[at + 2] ?? 0;
      const k3 = words[at + 3] ?? 0;
      const k4 = words[at + 4] ?? 0;
      low += (Math.imul(k2, low3) >>> 0) + (Math.imul(k4, low2) >>> 0);
      const carry = Math.floor(low / 2 ** 32);
      high += productHigh(k2, k3, low3, high3) + productHigh(k4, 0, low2, high2) + carry;
    }
    mixed[key * 2] = swap32(high >>> 0);
    mixed[key * 2 + 1] = swap32(low >>> 0);
  });
  return mixed;
}

/** What each key adds to the flow hash, and the hash key's own start: low half first. */
function hashSumsOf(
  keys: readonly ServiceKey[],
  words: Uint32Array,
  hashKey: FlowHashKey,
): Uint32Array {
  const sums = new Uint32Array(keys.length * 2);
  const multipliers = hashKey.map(halves);
  keys.forEach(({ vip: { family }, protocol, hashWords = FIVE_TUPLE }, key) => {
    const at = key * KEY_WORDS;
    const rest = words[at + (family === 4 ? 1 : 4)] ?? 0;
    const address = family === 4 ? [2] : [5, 6, 7, 8];
    const ports = family === 4 ? 3 : 9;
    let [low, high] = multipliers[0] ?? [0, 0];
    const add = (index: number, word: number): void => {
      const [multiplierLow, multiplierHigh] = multipliers[index] ?? [0, 0];
      low += Math.imul(word, multiplierLow) >>> 0;
      high += productHigh(word, 0, multiplierLow, multiplierHigh);
    };
    if ((hashWords & HashWords.vip) !== 0) {
      address.forEach((index, word) => add(index, words[at + word] ?? 0));
    }
    // The destination port is the upper half of the word of both.
    if ((hashWords & HashWords.servicePort) !== 0) add(ports, (rest << 16) >>> 0);
    if ((hashWords & HashWords.protocol) !== 0) add(ports + 1, protocol);
    sums[key * 2] = low % 2 ** 32;
    sums[key * 2 + 1] = (high + Math.floor(low / 2 ** 32)) % 2 ** 32;
  });
  return sums;
}

const halves = (value: bigint): readonly [low: number, high: number] => [
  Number(value & 0xffff_ffffn),
  Number(value >> 32n),
];

/** Bits 32 to 63 of the product of two numbers of 64 bits, given by halves. */
function productHigh(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  const a0 = aLow & 0xffff;
  const a1 = aLow >>> 16;
  const b0 = bLow & 0xffff;
  const b1 = bLow >>> 16;
  // Each sum is below 2^32: (2^16 - 1)^2 + 2 * (2^16 - 1) is 2^32 - 1.
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const other = a0 * b1 + (middle & 0xffff);
  const carried = a1 * b1 + (middle >>> 16) + (other >>> 16);
  return (carried + Math.imul(aHigh, bLow) + Math.imul(aLow, bHigh)) >>> 0;
}

const swap32 = (value: number): number =>
  ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

/** Odd numbers without pattern: the finish of SplitMix64 (Steele, Lea, Flood, 2014). */
function seedOf(attempt: bigint): bigint {
  let seed = BigInt.asUintN(64, attempt * M1);
  seed = BigInt.asUintN(64, (seed ^ (seed >> 30n)) * M2);
  seed = BigInt.asUintN(64, (seed ^ (seed >> 27n)) * M3);
  return (seed ^ (seed >> 31n)) | 1n;
}

interface PlacedFamily {
  readonly displacements: Uint32Array;
  /** The slot of each of the family's keys. */
  readonly slotOf: Uint32Array;
}

/** `null` when this seed does not keep `own`, the numbers of a family's keys, apart. */
function placeFamily(
  own: Uint32Array,
  words: Uint32Array,
  mixed: Uint32Array,
  seed: bigint,
  { displacements: buckets, slots }: FamilyShape,
): PlacedFamily | null {
  if (own.length > slots) {
    throw new RangeError(`Cannot index ${own.length} keys of a family: there are ${slots} slots`);
  }
  const [seedLow, seedHigh] = halves(seed);
  const bucketOf = new Uint32Array(own.length);
  const slotOf = new Uint32Array(own.length);
  /** Where each bucket's keys begin in `byBucket`, and one more: where the last one's end. */
  const starts = new Uint32Array(buckets + 1);
  own.forEach((key, index) => {
    const low = mixed[key * 2] ?? 0;
    const high = productHigh(low, mixed[key * 2 + 1] ?? 0, seedLow, seedHigh);
    const bucket =
      ((high << (32 - BUCKET_SHIFT)) | (Math.imul(low, seedLow) >>> BUCKET_SHIFT)) & (buckets - 1);
    bucketOf[index] = bucket;
    slotOf[index] = (high >>> (SLOT_SHIFT - 32)) & (slots - 1);
    starts[bucket + 1] = (starts[bucket + 1] ?? 0) + 1;
  });
  const sizes = starts.slice(1);
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    starts[bucket + 1] = (starts[bucket + 1] ?? 0) + (starts[bucket] ?? 0);
  }
  const byBucket = new Uint32Array(own.length);
  const filled = starts.slice();
  bucketOf.forEach((bucket, index) => {
    const at = filled[bucket] ?? 0;
    byBucket[at] = index;
    filled[bucket] = at + 1;
  });

  const displacements = new Uint32Array(buckets);
  /** The bucket that has a slot, plus one. */
  const takenBy = new Uint32Array(slots);
  for (const bucket of largestFirst(sizes)) {
    const group = byBucket.subarray(starts[bucket], starts[bucket + 1]);
    if (!areApart(group, slotOf)) {
      refuseTwins(
        group.map((index) => own[index] ?? 0),
        words,
      );
      return null;
    }
    const displacement = findDisplacement(group, slotOf, takenBy);
    if (displacement === null) return null;
    displacements[bucket] = displacement * SLOT_SCALE;
    for (const index of group) {
      const slot = (slotOf[index] ?? 0) ^ displacement;
      slotOf[index] = slot;
      takenBy[slot] = bucket + 1;
    }
  }
  return { displacements, slotOf };
}

/** The numbers of buckets that have keys, those with most of them first: they are hardest to place. */
function largestFirst(sizes: Uint32Array): readonly number[] {
  const ofSize = new Map<number, number[]>();
  sizes.forEach((size, bucket) => {
    if (size === 0) return;
    const same = ofSize.get(size);
    if (same === undefined) ofSize.set(size, [bucket]);
    else same.push(bucket);
  });
  return [...ofSize].toSorted(([a], [b]) => b - a).flatMap(([, buckets]) => buckets);
}

/** An XOR moves a group's keys together: two on one slot stay so whatever the displacement. */
function areApart(group: Uint32Array, slotOf: Uint32Array): boolean {
  if (group.length < 2) return true;
  const slots = new Set<number>();
  for (const index of group) slots.add(slotOf[index] ?? 0);
  return slots.size === group.length;
}

function findDisplacement(
  group: Uint32Array,
  slotOf: Uint32Array,
  takenBy: Uint32Array,
): number | null {
  for (let displacement = 0; displacement < takenBy.length; displacement += 1) {
    let fits = true;
    for (const index of group) {
      if (takenBy[(slotOf[index] ?? 0) ^ displacement] === 0) continue;
      fits = false;
      break;
    }
    if (fits) return displacement;
  }
  return null;
}

/** The same key twice has the same slot twice, by every seed. */
function refuseTwins(keys: Uint32Array, words: Uint32Array): void {
  const texts = Array.from(keys, (key) =>
    words.subarray(key * KEY_WORDS, (key + 1) * KEY_WORDS).join(),
  );
  if (new Set(texts).size === texts.length) return;
  throw new RangeError("Cannot index services: two have the same VIP, protocol and port");
}

function assemble(
  shape: IndexShape,
  own: readonly [Uint32Array, Uint32Array],
  [placed4, placed6]: readonly [PlacedFamily, PlacedFamily],
): Pick<IndexPlan, "size" | "slotAt" | "ipv4" | "ipv6"> {
  const { ipv4, ipv6, size } = indexLayout(shape);
  const slotAt = new Uint32Array(own[0].length + own[1].length);
  for (const [keys, { slotsAt }, { slotOf }] of [
    [own[0], ipv4, placed4],
    [own[1], ipv6, placed6],
  ] as const) {
    keys.forEach((key, index) => {
      slotAt[key] = slotsAt + (slotOf[index] ?? 0) * ServiceSlot.size;
    });
  }
  return {
    size,
    slotAt,
    ipv4: { layout: ipv4, displacements: placed4.displacements },
    ipv6: { layout: ipv6, displacements: placed6.displacements },
  };
}
