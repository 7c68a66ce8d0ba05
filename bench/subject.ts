/**
 * A case ready to be measured: the programs that take part in it, and the check that each does what
 * the reference says before its figure counts.
 */
import { Helper } from "../src/bpf/helpers.ts";
import { compile, type Program } from "../src/bpf/program.ts";
import { xdp, XDP_TX } from "../src/bpf/xdp.ts";
import { formatPacket } from "../src/packet/format.ts";
import { Ethernet } from "../src/packet/headers.ts";
import { referenceDirector } from "../src/datapath/reference/director.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import type { DesiredState } from "../src/plan/desired-state.ts";
import type { Case } from "./cases.ts";
import { BenchDirector } from "./director.ts";
import { Floor } from "./floor.ts";
import { Placed } from "./placed.ts";
import { frameOf, shapeOf, type Traffic } from "./traffic.ts";
import { referenceWorld, stateOf, variantOf, type World, worldKey } from "./world.ts";
import { Wrapper } from "./wrapper.ts";
import { Yardstick } from "./yardstick.ts";

/** Repetitions that must all end as a single run does. */
const CHECKED_RUNS = [1, 2, 10, 137] as const;
/** Rounds over all flows that leave an LRU map with 1 flow in 3 000 missing. */
const FILLING_ROUNDS = 8;

export interface Contender {
  readonly what: "director" | "floor" | "yardstick";
  readonly program: Placed;
  readonly traffic: Traffic;
}

export interface Subject {
  readonly case: Case;
  readonly director: BenchDirector;
  readonly contenders: readonly Contender[];
}

type Reference = ReturnType<typeof referenceDirector>;

interface Laid {
  readonly state: DesiredState;
  readonly reference: Reference;
}

/** Loads what cases need, each thing once. Dispose of it to close all of that. */
export class Stage {
  readonly #stack = new DisposableStack();
  readonly #made = new Map<string, unknown>();
  readonly #placed: Placed[] = [];

  /** `return XDP_TX`: what is left of a run when the target does nothing. */
  empty(): Placed {
    return this.#once("empty", () => this.#alone(xdp("carom_tx", (p) => p.return(XDP_TX))));
  }

  /** Puts every program somewhere else. @throws {KernelError} */
  reload(): void {
    for (const program of this.#placed) program.reload();
  }

  /** XDP_TX behind `bpf_xdp_adjust_head` for `bytes` more: what a tunnel cannot do without. */
  moved(bytes: number): Placed {
    const program = xdp("carom_moved", (p) => {
      p.call(Helper.xdpAdjustHead, p.contextRegister, -bytes);
      p.return(XDP_TX);
    });
    return this.#once(`moved ${bytes}`, () => this.#alone(program));
  }

  wrapper(traffic: Traffic): Wrapper {
    const shape = shapeOf(traffic);
    return this.#once(`wrapper ${JSON.stringify(shape)}`, () =>
      this.#stack.use(new Wrapper(shape)),
    );
  }

  /** Loads and fills everything for `measured`, and checks it. @throws {Error} when a program does the wrong thing */
  async subject(measured: Case, withYardstick: boolean): Promise<Subject> {
    const { world, traffic } = measured;
    const { state, reference } = this.#laid(world);
    const director = await this.#once(`director ${worldKey(world)}`, async () =>
      this.#used(await BenchDirector.open(state, { variant: variantOf(world) })),
    );
    const contenders: Contender[] = [{ what: "director", program: director.program, traffic }];
    const beside = measured.floor;
    if (beside !== null) {
      const { family, way } = beside.world;
      const floor = this.#once(`floor ${family} ${way}`, () =>
        this.#used(new Floor(family, way, this.#laid(beside.world).state)),
      );
      contenders.push({ what: "floor", program: floor.program, traffic: beside.traffic });
    }
    if (measured.yardstick && withYardstick) {
      // A flood of new flows pushes all others out of an LRU map: it gets one of its own.
      const own = traffic.kind === "syn" ? "flooded" : "settled";
      const yardstick = await this.#once(`yardstick ${own} ${worldKey(world)}`, async () => {
        const tables = this.#stack.use(await BenchDirector.open(state));
        return this.#used(new Yardstick(tables, state));
      });
      contenders.push({ what: "yardstick", program: yardstick.program, traffic });
    }
    for (const contender of contenders) {
      const isFloor = contender.what === "floor" && beside !== null;
      const rules = isFloor ? this.#laid(beside.world).reference : reference;
      this.#check(measured, contender, rules);
      if (contender.what === "yardstick" && traffic.kind !== "syn") this.#fill(contender);
    }
    return { case: measured, director, contenders };
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #laid(world: World): Laid {
    return this.#once(`world ${worldKey(world)}`, () => {
      const state = stateOf(world);
      return { state, reference: referenceDirector(referenceWorld(state, world)) };
    });
  }

  #check({ name }: Case, { what, program, traffic }: Contender, reference: Reference): void {
    for (const runs of CHECKED_RUNS) {
      const { verdict, packet, flow } = this.wrapper(traffic).run(program.fd, traffic, runs);
      const frame = frameOf(traffic, flow);
      const right = reference(frame);
      const expected = right.packet?.slice() ?? NOTHING;
      // Floors do not take a hop: the inner packet is as it came.
      if (what === "floor" && right.packet !== null) {
        const ip = frame.subarray(Ethernet.size);
        expected.set(ip, expected.length - ip.length);
      }
      if (verdict === right.verdict && Buffer.compare(packet, expected) === 0) continue;
      throw new Error(
        `Cannot measure "${name}": after ${runs} runs the ${what} ended flow ${flow} with verdict ${verdict}, ${right.verdict} is right\n` +
          `is:      ${formatPacket(packet)}\nshould:  ${formatPacket(expected)}`,
      );
    }
  }

  #fill({ program, traffic }: Contender): void {
    this.wrapper(traffic).run(program.fd, traffic, FILLING_ROUNDS * traffic.flows);
  }

  #alone(program: Program): Placed {
    const placed = new Placed(() => loadProgram(compile(program), noMaps));
    this.#stack.defer(() => placed.close());
    this.#placed.push(placed);
    return placed;
  }

  #used<T extends Disposable & { readonly program: Placed }>(made: T): T {
    this.#placed.push(made.program);
    return this.#stack.use(made);
  }

  #once<T>(key: string, make: () => T): T {
    if (!this.#made.has(key)) this.#made.set(key, make());
    return this.#made.get(key) as T;
  }
}

const NOTHING = new Uint8Array();

const noMaps = (): never => {
  throw new Error("A program without maps");
};
