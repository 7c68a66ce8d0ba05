/** Internet checksums in programs: sums not folded yet, and changes to checksums that are there. */
import type { Value } from "../bpf/value.ts";
import type { Pointer } from "../bpf/view.ts";

/** Applies a change, 64 bits not folded, to the 16-bit checksum here (RFC 1624 eqn. 3). */
export function emitChangeChecksum(at: Pointer, change: Value): void {
  const field = at.place(2);
  const sum = field.read().u32().xor(0xffff).u64().add(change);
  field.set(folded(sum).xor(0xffff));
}

/** Ones' complement of a word of 32 bits, as 64: what a word that is no more adds to a change. */
export const complementOf = (word: Value): Value => word.u32().xor(-1).u64();

/** A sum of words as 16 bits, ones' complement. */
export function folded(sum: Value): Value {
  const once = sum.u32().u64().add(sum.shr(32));
  let half = once.and(0xffff).add(once.shr(16));
  half = half.and(0xffff).add(half.shr(16));
  return half.and(0xffff).add(half.shr(16)).u32();
}
