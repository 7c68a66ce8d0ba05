/**
 * Rounds: in each, every subject runs its packets in pieces, the contenders of a piece by turns with
 * `return XDP_TX`, so that whatever the machine does meanwhile meets all of them alike.
 */
import type { Case } from "./cases.ts";
import type { Contender, Stage, Subject } from "./subject.ts";
import { figuresOf, type Figures, roundFigure } from "./figures.ts";
import type { Wrapper } from "./wrapper.ts";

export interface MeasureOptions {
  readonly rounds: number;
  /** Of each contender in each round; cases may ask for a share of them. */
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
    stage.reload();
    for (const tally of tallies) tally.run(stage, options.packets);
    options.onRound(round);
  }
  return tallies.map((tally) => tally.measured());
}

interface Round {
  readonly pieces: number;
  /** Packets of a piece. */
  readonly size: number;
}

/**
 * A case with a share of the packets has fewer pieces, not shorter ones: in each, tables are in the
 * caches only after some ten thousand packets.
 */
function roundOf({ share }: Pick<Case, "share">, packets: number): Round {
  const pieces = Math.max(1, Math.round(PIECES * share));
  return { pieces, size: Math.floor(packets / PIECES) };
}

/** Packets of each contender of a case in each round of about `packets`. */
export function packetsOf(measured: Pick<Case, "share">, packets: number): number {
  const { pieces, size } = roundOf(measured, packets);
  return pieces * size;
}

type What = Contender["what"] | "empty";

class Tally {
  readonly subject: Subject;
  /** A figure a round. */
  readonly #roundsNs = new Map<What, number[]>();

  constructor(subject: Subject) {
    this.subject = subject;
  }

  run(stage: Stage, packets: number): void {
    const { case: measured, contenders, director } = this.subject;
    const targets: readonly Target[] = [
      { program: stage.empty(), traffic: measured.traffic },
      ...contenders,
    ];
    const names: readonly What[] = ["empty", ...contenders.map(({ what }) => what)];
    const before = director.packets(measured.reason);
    const round = roundOf(measured, packets);
    const roundNs = runRound(stage.wrapper(measured.traffic), targets, round);
    const counted = director.packets(measured.reason) - before;
    const came = round.pieces * round.size;
    if (counted !== BigInt(came)) {
      throw new Error(
        `Cannot measure "${measured.name}": the director counted ${counted} packets as "${measured.reason}", ${came} came`,
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
      this.subject.contenders.map(({ what }) => [
        what,
        figuresOf({ targetNs: this.#roundsNs.get(what) ?? [], emptyNs }),
      ]),
    );
    return { subject: this.subject, figures, emptyGrossMedianNs: roundFigure(emptyNs) };
  }
}

export interface Target extends Pick<Contender, "traffic"> {
  readonly program: { readonly fd: number };
}

/** What one round of each target comes to, in nanoseconds a packet. */
function runRound(wrapper: Wrapper, targets: readonly Target[], round: Round): readonly number[] {
  const pieces = runPieces(wrapper, targets, round);
  return targets.map((_, index) => roundFigure(pieces.flatMap((piece) => piece[index] ?? [])));
}

/**
 * Runs pieces of `size` packets of each target, the targets by turns. Gives, for each piece, the
 * nanoseconds a packet of each target took, in every stretch.
 */
export function runPieces(
  wrapper: Wrapper,
  targets: readonly Target[],
  { pieces, size }: Round,
): readonly (readonly (readonly number[])[])[] {
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
