/**
 * The Internet checksum (RFC 1071), its incremental update (RFC 1624) and the pseudo headers it
 * covers. All numbers are host order: what belongs into a `be16` field of `headers.ts`.
 */

/**
 * The 16-bit one's complement sum of `bytes`, not yet complemented, added to `initial` (another
 * such sum). An odd last byte counts as the upper half of a word (RFC 1071 §4.1).
 */
export function onesSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  // Exact far beyond 64 KiB: a double holds 2^37 words.
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** The Internet checksum of `bytes`, continuing `initial`; over data with a right checksum it is 0. */
export const internetChecksum = (bytes: Uint8Array, initial = 0): number =>
  ~onesSum(bytes, initial) & 0xffff;

/**
 * The checksum after `before` became `after` in the data, by RFC 1624 eqn. 3:
 * HC' = ~(~HC + ~m + m'). Both start at an even offset of the data; lengths may differ (bytes removed or added).
 */
export function updateChecksum(checksum: number, before: Uint8Array, after: Uint8Array): number {
  const withoutBefore = onesSum(
    before.map((byte) => ~byte),
    ~checksum & 0xffff,
  );
  // The complement of an odd last byte's missing half is all ones, not the zero that onesSum adds.
  const rest =
    before.length % 2 === 1 ? onesSum(Uint8Array.of(0, 0xff), withoutBefore) : withoutBefore;
  return internetChecksum(after, rest);
}

/**
 * The sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1), for `initial`.
 * `source` and `destination` are addresses of 4 or 16 bytes; `length` is that of header and payload.
 */
export function pseudoHeaderSum(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  length: number,
): number {
  const words = Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length, 0, protocol);
  return onesSum(words, onesSum(source, onesSum(destination)));
}
