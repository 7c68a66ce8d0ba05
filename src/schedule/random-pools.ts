/** Pools for the tests and `scripts/tables-report.ts`, from a seed. */
import type { Member } from "./table.ts";

export type Mix = "equal" | "mixed" | "skewed";
export const mixes: readonly Mix[] = ["equal", "mixed", "skewed"];

/** Integers below `limit` from a seed; the same everywhere (xorshift32). */
export type Random = (limit: number) => number;

export function randomFrom(seed: number): Random {
  let state = seed | 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

/** All 10; 1 to 10; or 1 to 64, where twice the weight is half as frequent. */
export function randomWeight(mix: Mix, random: Random): number {
  if (mix === "equal") return 10;
  if (mix === "mixed") return 1 + random(10);
  return Math.floor(64 / (1 + random(64)));
}

export function randomPool(count: number, mix: Mix, random: Random): Member[] {
  const salt = random(1_000_000_007);
  return Array.from({ length: count }, (_, i) => ({
    name: `backend-${salt}-${i}`,
    weight: randomWeight(mix, random),
  }));
}

/** The same, in another order. */
export function shuffled<T>(values: readonly T[], random: Random): T[] {
  const result = [...values];
  for (let i = result.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}
