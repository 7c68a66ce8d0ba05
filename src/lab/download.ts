/** What the lab's clients download: 1 MB that both ends compute, so that every byte can be compared. */

export const DOWNLOAD_SIZE_BYTES = 1_000_000;

/**
 * The download's bytes: xorshift32 from a fixed seed, so that no shift, swap or repetition of packets
 * goes unnoticed.
 */
export function downloadBody(): Uint8Array {
  const words = new Uint32Array(DOWNLOAD_SIZE_BYTES / 4);
  let state = 0x2545f491;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer);
}
