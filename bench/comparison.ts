/**
 * The builder's programs beside clang's. Each pair must first do the same to the same packets: verdict,
 * bytes and counters, in every world of the pair, on the bench's traffic and on random and damaged
 * packets. Then both are timed by turns, as docs/benchmarks.md says.
 */
import type { ProgramImage } from "../src/bpf/image.ts";
import { damaged, Random } from "../src/datapath/fuzz-fixture.ts";
import { type BpfProgram, loadProgram } from "../src/kernel/programs.ts";
import { TestRun } from "../src/kernel/test-run.ts";
import { formatPacket } from "../src/packet/format.ts";
import { imageOfObject, readBpfObject } from "./bpf-object.ts";
import { compileC } from "./clang.ts";
import { type Figures, figuresOf, quantile, roundFigure } from "./figures.ts";
import { type MeasureOptions, runPieces } from "./measure.ts";
import type { Oracle, OracleWorld } from "./oracles.ts";
import type { Stage } from "./subject.ts";
import { frameOf } from "./traffic.ts";

/** Random packets a world is checked with. */
const CHECKED_PACKETS = 2000;
/** How often a built packet is used: once whole, then damaged anew. */
const USES = 4;
/** Repetitions behind the wrapper that must all end alike. */
const CHECKED_RUNS = [1, 2, 10, 137] as const;
const MAX_PACKET = 3000;
const SEED = 20;

export interface Side {
  readonly figures: Figures;
  readonly emitted: number;
  readonly xlated: number;
  readonly jitBytes: number;
}

export interface Comparison {
  readonly name: string;
  readonly ours: Side;
  readonly clangs: Side;
  /** Ours over clang's, net, each from the same piece: the median and the quartiles. */
  readonly ratio: { readonly median: number; readonly low: number; readonly high: number };
  readonly emptyGrossMedianNs: number;
}

interface Loaded {
  readonly image: ProgramImage;
  readonly program: BpfProgram;
  /** Loads it once more. */
  readonly again: () => BpfProgram;
}

interface Pair extends Disposable {
  readonly oracle: Oracle;
  readonly ours: Loaded;
  readonly clangs: Loaded;
}

/** Compares all `oracles`. @throws {Error} where two programs do not do the same */
export async function compare(
  stage: Stage,
  oracles: readonly Oracle[],
  options: MeasureOptions,
): Promise<readonly Comparison[]> {
  using stack = new DisposableStack();
  const pairs: Pair[] = [];
  for (const oracle of oracles) pairs.push(stack.use(await checkedPair(stage, oracle)));
  const piecesNs = pairs.map((): (readonly number[])[] => []);
  for (let round = 1; round <= options.rounds; round += 1) {
    pairs.forEach((pair, index) => {
      for (let placement = 0; placement < PLACEMENTS; placement += 1) {
        piecesNs[index]?.push(
          ...placedPieces(stage, pair, options.packets / PLACEMENTS, placement % 2 === 0),
        );
      }
    });
    options.onRound(round);
  }
  return pairs.map((pair, index) => comparisonOf(pair, piecesNs[index] ?? []));
}

/** Times a round loads both programs anew: as often ours first as clang's. */
const PLACEMENTS = 6;
/** Two programs are held against each other piece by piece: short ones, in which the machine stays as it is. */
const PIECES = 10;
const PIECE_PACKETS_MIN = 1000;

/**
 * Pieces of about `packets` packets together: what a packet took behind the wrapper alone, with ours
 * and with clang's. Both are loaded anew, for the first gap that the kernel finds goes to the first:
 * where code lies decides some nanoseconds too.
 */
function placedPieces(
  stage: Stage,
  { oracle: { traffic }, ours, clangs }: Pair,
  packets: number,
  oursFirst: boolean,
): readonly (readonly number[])[] {
  using first = (oursFirst ? ours : clangs).again();
  using second = (oursFirst ? clangs : ours).again();
  const [our, clang] = oursFirst ? [first, second] : [second, first];
  const pieces = Math.max(1, Math.min(PIECES, Math.floor(packets / PIECE_PACKETS_MIN)));
  return runPieces(
    stage.wrapper(traffic),
    [stage.empty(), our, clang].map((program) => ({ program, traffic })),
    { pieces, size: Math.floor(packets / pieces) },
  ).map((piece) => piece.map(roundFigure));
}

function comparisonOf(
  { oracle, ours, clangs }: Pair,
  piecesNs: readonly (readonly number[])[],
): Comparison {
  const column = (index: number): number[] => piecesNs.map((piece) => piece[index] ?? Number.NaN);
  const emptyNs = column(0);
  const side = ({ image, program }: Loaded, targetNs: readonly number[]): Side => {
    const { xlatedBytes, jitedBytes } = program.info();
    return {
      figures: figuresOf({ targetNs, emptyNs }),
      emitted: image.instructions.length / 8,
      xlated: xlatedBytes / 8,
      jitBytes: jitedBytes,
    };
  };
  const ratios = piecesNs.map(
    ([empty = NaN, our = NaN, clang = NaN]) => (our - empty) / (clang - empty),
  );
  return {
    name: oracle.name,
    ours: side(ours, column(1)),
    clangs: side(clangs, column(2)),
    ratio: {
      median: quantile(ratios, 0.5),
      low: quantile(ratios, 0.25),
      high: quantile(ratios, 0.75),
    },
    emptyGrossMedianNs: quantile(emptyNs, 0.5),
  };
}

async function checkedPair(stage: Stage, oracle: Oracle): Promise<Pair> {
  const stack = new DisposableStack();
  try {
    let measured: Omit<Pair, "oracle" | keyof Disposable> | undefined;
    for (const open of oracle.worlds) {
      const world = stack.use(await open());
      const pair = {
        ours: load(world.image, world, stack),
        clangs: load(clangImage(oracle, world), world, stack),
      };
      checkRandom(oracle, world, pair);
      measured ??= pair;
    }
    if (measured === undefined) throw new Error(`"${oracle.name}" has no world`);
    checkTraffic(stage, oracle, measured);
    return { oracle, ...measured, [Symbol.dispose]: () => stack.dispose() };
  } catch (error) {
    stack.dispose();
    throw error;
  }
}

function load(image: ProgramImage, world: OracleWorld, stack: DisposableStack): Loaded {
  const again = (): BpfProgram => loadProgram(image, world.mapFd);
  return { image, program: stack.use(again()), again };
}

const clangImage = ({ file }: Oracle, { defines, maps }: OracleWorld): ProgramImage =>
  imageOfObject("bench_clang", readBpfObject(compileC(file, defines)), maps);

/** Random packets: the same for all programs. */
function checkRandom(
  { name }: Oracle,
  world: OracleWorld,
  { ours, clangs }: Pick<Pair, "ours" | "clangs">,
): void {
  const random = new Random(SEED);
  let base = world.randomPacket(random);
  const packets = Array.from({ length: CHECKED_PACKETS }, (_, index) => {
    if (index % USES !== 0) return damaged(random, base);
    base = world.randomPacket(random);
    return base;
  });
  const [our, clang] = [ours, clangs].map((side) => outcomesOf(side, world, packets));
  packets.forEach((input, index) => {
    requireSame(name, input, our?.outcomes[index], clang?.outcomes[index]);
  });
  if (our?.counted.join() !== clang?.counted.join()) {
    throw new Error(
      `Cannot compare "${name}": of ${CHECKED_PACKETS} packets the builder's program counts ${our?.counted.join(" ")}, clang's ${clang?.counted.join(" ")}`,
    );
  }
}

/** The bench's traffic, restored by the wrapper, against single runs of ours. */
function checkTraffic(
  stage: Stage,
  { name, traffic }: Oracle,
  { ours, clangs }: Pick<Pair, "ours" | "clangs">,
): void {
  const single = new TestRun(ours.program.fd, { maxPacket: MAX_PACKET });
  const wrapper = stage.wrapper(traffic);
  for (const { program } of [ours, clangs]) {
    for (const runs of CHECKED_RUNS) {
      const { verdict, packet, flow } = wrapper.run(program.fd, traffic, runs);
      const frame = frameOf(traffic, flow);
      requireSame(name, frame, single.run(frame), { verdict, packet });
    }
  }
}

interface Outcome {
  readonly verdict: number;
  readonly packet: Uint8Array;
}

/** What each run left, and how much each counter rose. */
function outcomesOf(
  { program }: Pick<Loaded, "program">,
  world: OracleWorld,
  packets: readonly Uint8Array[],
): { readonly outcomes: readonly Outcome[]; readonly counted: readonly bigint[] } {
  const testRun = new TestRun(program.fd, { maxPacket: MAX_PACKET });
  const before = world.counters();
  const outcomes = packets.map((input) => {
    const { verdict, packet } = testRun.run(input);
    return { verdict, packet: packet.slice() };
  });
  const after = world.counters();
  return { outcomes, counted: after.map((value, index) => value - (before[index] ?? 0n)) };
}

function requireSame(
  name: string,
  input: Uint8Array,
  our: Outcome | undefined,
  clang: Outcome | undefined,
): void {
  if (our === undefined || clang === undefined) throw new Error(`"${name}" was not run`);
  if (our.verdict === clang.verdict && Buffer.compare(our.packet, clang.packet) === 0) return;
  throw new Error(
    `Cannot compare "${name}": the two programs do not do the same\n` +
      `in:          ${formatPacket(input)}\n` +
      `builder, ${our.verdict}: ${formatPacket(our.packet)}\n` +
      `clang, ${clang.verdict}:   ${formatPacket(clang.packet)}`,
  );
}
