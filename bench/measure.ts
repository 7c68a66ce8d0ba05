/**
 * Rounds: in each, every subject runs its packets in pieces, the contenders of a piece by turns with
 * `return XDP_TX`, so that whatever the machine does meanwhile meets all of them alike.
 */
import type { Contender, Stage, Subject } from "./subject.ts";
import { figuresOf, type Figures, roundFigure } from "./figures.ts";
import type { Wrapper } from "./wrapper.ts";

export interface MeasureOptions {
  readonly rounds: number;
  /** Of each contender in each round. */
  readonly packets: number;
  /** Called after each round. */
  readonly onRound: (round: number) => void;
}

export interface Measured {
  readonly subject: Subject;
  readonly figures: Partial<Record<Contender["what"], Figures>>;
  /** Of the wrapper in front of `return XDP_TX`. */
  readonly emptyGrossMedianNs: number;
}

/** Pieces of a round; the fewest packets of one that give a stretch are 2. */
const PIECES = 10;
export const PACKETS_MIN = PIECES * 2;

/**
 * Measures all subjects.
 * @throws {Error} when a director did not count every packet it was given as the case says
 */
export function measure(
  stage: Stage,
  subjects: readonly Subject[],
  options: MeasureOptions,
): readonly Measured[] {
  const tallies = subjects.map((subject) => new Tally(subject));
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const tally of tallies) tally.run(stage, options.packets);
    options.onRound(round);
  }
  return tallies.map((tally) => tally.measured());
}

type What = Contender["what"] | "empty";

class Tally {
  readonly #subject: Subject;
  /** A figure a round. */
  readonly #roundsNs = new Map<What, number[]>();

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  run(stage: Stage, packets: number): void {
    const { case: measured, contenders, director } = this.#subject;
    const targets: readonly Target[] = [
      { program: stage.empty(), traffic: measured.traffic },
      ...contenders,
    ];
    const names: readonly What[] = ["empty", ...contenders.map(({ what }) => what)];
    const before = director.packets(measured.reason);
    const roundNs = runRound(stage.wrapper(measured.traffic), targets, packets);
    const counted = director.packets(measured.reason) - before;
    if (counted !== BigInt(wholePieces(packets))) {
      throw new Error(
        `Cannot measure "${measured.name}": the director counted ${counted} packets as "${measured.reason}", ${wholePieces(packets)} came`,
      );
    }
    names.forEach((name, index) => {
      const figures = this.#roundsNs.get(name) ?? [];
      figures.push(roundNs[index] ?? Number.NaN);
      this.#roundsNs.set(name, figures);
    });
  }

  measured(): Measured {
    const emptyNs = this.#roundsNs.get("empty") ?? [];
    const figures = Object.fromEntries(
      this.#subject.contenders.map(({ what }) => [
        what,
        figuresOf({ targetNs: this.#roundsNs.get(what) ?? [], emptyNs }),
      ]),
    );
    return { subject: this.#subject, figures, emptyGrossMedianNs: roundFigure(emptyNs) };
  }
}

export type Target = Pick<Contender, "program" | "traffic">;

/** What one round of about `packets` packets of each target comes to, in nanoseconds a packet. */
function runRound(
  wrapper: Wrapper,
  targets: readonly Target[],
  packets: number,
): readonly number[] {
  const pieces = runPieces(wrapper, targets, { pieces: PIECES, packets });
  return targets.map((_, index) => roundFigure(pieces.flatMap((piece) => piece[index] ?? [])));
}

/**
 * Runs about `packets` packets of each target in pieces, the targets by turns. Gives, for each piece,
 * the nanoseconds a packet of each target took, in every stretch.
 */
export function runPieces(
  wrapper: Wrapper,
  targets: readonly Target[],
  { pieces, packets }: { readonly pieces: number; readonly packets: number },
): readonly (readonly (readonly number[])[])[] {
  const size = Math.floor(packets / pieces);
  return Array.from({ length: pieces }, (_, turn) => {
    const stretchesNs: (readonly number[])[] = targets.map(() => []);
    // Who begins changes, so that nobody always comes after the same one.
    for (let offset = 0; offset < targets.length; offset += 1) {
      const index = (turn + offset) % targets.length;
      const target = targets[index];
      if (target === undefined) continue;
      stretchesNs[index] = wrapper.run(target.program.fd, target.traffic, size).stretchesNs;
    }
    return stretchesNs;
  });
}

const wholePieces = (packets: number): number => Math.floor(packets / PIECES) * PIECES;
