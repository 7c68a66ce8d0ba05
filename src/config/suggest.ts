/** "Did you mean": the one candidate that a word is most likely a slip of. */

/** More candidates than this are not searched: the answer is a courtesy, not worth seconds. */
const candidatesMax = 256;

/** The closest candidate within a third of the word's length (at least 1 slip), if there is one. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  if (candidates.length > candidatesMax) return undefined;
  let best: string | undefined;
  let bestSlips = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= bestSlips) continue;
    const slips = slipsBetween(word.toLowerCase(), candidate.toLowerCase());
    if (slips >= bestSlips) continue;
    best = candidate;
    bestSlips = slips;
  }
  return best;
}

/** Optimal string alignment distance: insert, delete, replace, swap neighbours. */
function slipsBetween(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let slips = Math.min(
        (previous[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (previous[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        slips = Math.min(slips, (before[j - 2] ?? 0) + 1);
      }
      row.push(slips);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
