/**
 * The flow hash, the same on every director that has the key: Multilinear (Lemire and Kaser,
 * "Strongly universal string hashing is fast", 2014) over 32-bit words, finished by MurmurHash3's
 * `fmix32`:
 *
 *     h = fmix32((k0 + k1 w1 + k2 w2 + … mod 2^64) >> 32)
 *
 * For a key nobody knows, two flows meet in a bucket with the probability of chance, whoever picks
 * them; the finish spreads neighbouring ports of one client over the table. The words are a packet's
 * bytes read as little-endian 32-bit numbers: source address, destination address, source and
 * destination port, and the protocol. Vectors: docs/design/flow-hash.md.
 */
import { hkdfSync } from "node:crypto";
import type { FunctionBuilder } from "../bpf/function.ts";
import type { Value } from "../bpf/value.ts";

/** Words of the longest key: an IPv6 five-tuple. */
export const FLOW_WORDS_MAX = 10;
export const HASH_KEY_SIZE = 32;
/** Used when the configuration names no key: clients can then work out which bucket they fall into. */
export const DEFAULT_HASH_KEY: Uint8Array = new Uint8Array(HASH_KEY_SIZE);

/** The multipliers k0, k1, … as 64-bit numbers. */
export type FlowHashKey = readonly bigint[];

/**
 * Expands 32 secret bytes to the multipliers: HKDF-SHA-256 (RFC 5869), no salt, info
 * "carom flow hash 1", read as little-endian 64-bit numbers.
 * @throws {RangeError} when `secret` is not 32 bytes
 */
export function flowHashKey(secret: Uint8Array): FlowHashKey {
  if (secret.length !== HASH_KEY_SIZE) {
    throw new RangeError(
      `Cannot use a hash key of ${secret.length} bytes: ${HASH_KEY_SIZE} are needed`,
    );
  }
  const size = (FLOW_WORDS_MAX + 1) * 8;
  const expanded = new DataView(hkdfSync("sha256", secret, "", "carom flow hash 1", size));
  return Array.from({ length: FLOW_WORDS_MAX + 1 }, (_, index) =>
    expanded.getBigUint64(index * 8, true),
  );
}

/** The hash of 32-bit words, as a program computes it. */
export function flowHash(key: FlowHashKey, words: readonly number[]): number {
  let sum = keyAt(key, 0);
  words.forEach((word, index) => {
    sum = BigInt.asUintN(64, sum + keyAt(key, index + 1) * BigInt(word >>> 0));
  });
  let hash = Number(sum >> 32n);
  hash = Math.imul(hash ^ (hash >>> 16), FMIX_1);
  hash = Math.imul(hash ^ (hash >>> 13), FMIX_2);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The number of a word of the key, from 1 on, and the word. */
export type FlowTerm = readonly [number, Value];

/** Emits the hash of which `sum` is a part, k0 in it; `terms` are the words that are not. */
export function emitFlowHash(
  p: FunctionBuilder,
  key: FlowHashKey,
  sum: Value,
  terms: readonly FlowTerm[],
): Value {
  // The sum last: it may be the one to wait for.
  const whole =
    terms
      .reduce<Value | null>((own, term) => {
        const product = emitFlowTerm(p, key, term);
        return own?.add(product) ?? product;
      }, null)
      ?.add(sum) ?? sum;
  // Both shifts from the sum, not the second from the first: a cycle less to wait for.
  let hash = whole
    .shr(32)
    .u32()
    .xor(whole.shr(48).u32())
    .mul(FMIX_1 | 0);
  hash = hash.xor(hash.shr(13)).mul(FMIX_2 | 0);
  return hash.xor(hash.shr(16));
}

/** What one word adds to the sum. */
export const emitFlowTerm = (
  p: FunctionBuilder,
  key: FlowHashKey,
  [index, word]: FlowTerm,
): Value =>
  word
    .raw()
    .u64()
    .mul(p.constant(keyAt(key, index), 8));

const FMIX_1 = 0x85ebca6b;
const FMIX_2 = 0xc2b2ae35;

function keyAt(key: FlowHashKey, index: number): bigint {
  const multiplier = key[index];
  if (multiplier === undefined) {
    throw new RangeError(`Cannot hash ${index} words: the key has ${key.length - 1} multipliers`);
  }
  return multiplier;
}
