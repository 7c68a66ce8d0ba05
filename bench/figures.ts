/** From stretches and rounds to the few numbers that are shown. Pure. */

/** Nanoseconds a packet took in each round: with the target, and with `return XDP_TX` in its place. */
export interface Rounds {
  readonly targetNs: readonly number[];
  readonly emptyNs: readonly number[];
}

export interface Figures {
  /** Median over the rounds of target less empty, each pair from the same round. */
  readonly netMedianNs: number;
  /** The least of the target less the least of the empty one. */
  readonly netMinNs: number;
  /** Half of the rounds lie between these two. */
  readonly netLowNs: number;
  readonly netHighNs: number;
  /** What the clock said, wrapper and all. */
  readonly grossMedianNs: number;
}

/** What a round's stretches come to: the median leaves out those in which the machine did something else. */
export const roundFigure = (stretchesNs: readonly number[]): number => quantile(stretchesNs, 0.5);

/** @throws {RangeError} without rounds, or when one is without its pair */
export function figuresOf({ targetNs, emptyNs }: Rounds): Figures {
  if (targetNs.length === 0 || targetNs.length !== emptyNs.length) {
    throw new RangeError(
      `Cannot compare ${targetNs.length} rounds with ${emptyNs.length}: one pair is needed at least`,
    );
  }
  const net = targetNs.map((target, round) => target - (emptyNs[round] ?? Number.NaN));
  return {
    netMedianNs: quantile(net, 0.5),
    netMinNs: Math.min(...targetNs) - Math.min(...emptyNs),
    netLowNs: quantile(net, 0.25),
    netHighNs: quantile(net, 0.75),
    grossMedianNs: quantile(targetNs, 0.5),
  };
}

/** By linear interpolation between neighbours. @throws {RangeError} without values */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError("Cannot take a quantile of nothing");
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? 0;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}
