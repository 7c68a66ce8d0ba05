/**
 * A case ready to be measured: the programs that take part in it, and the check that each does what
 * the reference says before its figure counts.
 */
import { compile } from "../src/bpf/program.ts";
import { xdp, XDP_TX } from "../src/bpf/xdp.ts";
import { formatPacket } from "../src/packet/format.ts";
import { ForwardingCode } from "../src/datapath/layout.ts";
import { referenceDirector } from "../src/datapath/reference/director.ts";
import { type BpfProgram, loadProgram } from "../src/kernel/programs.ts";
import type { DesiredState } from "../src/plan/desired-state.ts";
import type { Case } from "./cases.ts";
import { BenchDirector } from "./director.ts";
import { Floor } from "./floor.ts";
import { frameOf, shapeOf, type Traffic } from "./traffic.ts";
import { plainWorld, referenceWorld, stateOf, type World } from "./world.ts";
import { Wrapper } from "./wrapper.ts";
import { Yardstick } from "./yardstick.ts";

/** Repetitions that must all end as a single run does. */
const CHECKED_RUNS = [1, 2, 10, 137] as const;
/** Rounds over all flows that leave an LRU map with 1 flow in 3 000 missing. */
const FILLING_ROUNDS = 8;

export interface Contender {
  readonly what: "director" | "floor" | "yardstick";
  readonly program: BpfProgram;
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

  /** `return XDP_TX`: what is left of a run when the target does nothing. */
  empty(): BpfProgram {
    return this.#once("empty", () =>
      this.#stack.use(loadProgram(compile(xdp("carom_tx", (p) => p.return(XDP_TX))), noMaps)),
    );
  }

  wrapper(traffic: Traffic): Wrapper {
    const shape = shapeOf(traffic);
    return this.#once(`wrapper ${shape}`, () => this.#stack.use(new Wrapper(shape)));
  }

  /** Loads and fills everything for `measured`, and checks it. @throws {Error} when a program does the wrong thing */
  async subject(measured: Case, withYardstick: boolean): Promise<Subject> {
    const { world, traffic, everyFeature } = measured;
    const { state, reference } = this.#laid(world);
    const director = await this.#once(`director ${everyFeature} ${keyOf(world)}`, async () =>
      this.#stack.use(await BenchDirector.open(state, { features: everyFeature ? ALL : {} })),
    );
    const contenders: Contender[] = [{ what: "director", program: director.program, traffic }];
    // The floor has one service: it stands beside larger worlds for what is possible at all.
    const floorWorld = plainWorld(world.family, world.way);
    const floor = this.#once(`floor ${keyOf(floorWorld)}`, () =>
      this.#stack.use(new Floor(world.family, world.way, this.#laid(floorWorld).state)),
    );
    const floorTraffic = world.services === 1 ? traffic : { ...traffic, destinations: 1 };
    contenders.push({ what: "floor", program: floor.program, traffic: floorTraffic });
    if (measured.yardstick && withYardstick) {
      // A flood of new flows pushes all others out of an LRU map: it gets one of its own.
      const own = traffic.kind === "syn" ? "flooded" : "settled";
      const yardstick = await this.#once(`yardstick ${own} ${keyOf(world)}`, async () => {
        const tables = this.#stack.use(await BenchDirector.open(state));
        return this.#stack.use(new Yardstick(tables, state));
      });
      contenders.push({ what: "yardstick", program: yardstick.program, traffic });
    }
    for (const contender of contenders) {
      const rules = contender.what === "floor" ? this.#laid(floorWorld).reference : reference;
      this.#check(measured, contender, rules);
      if (contender.what === "yardstick" && traffic.kind !== "syn") this.#fill(contender);
    }
    return { case: measured, director, contenders };
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #laid(world: World): Laid {
    return this.#once(`world ${keyOf(world)}`, () => {
      const state = stateOf(world);
      return { state, reference: referenceDirector(referenceWorld(state)) };
    });
  }

  #check({ name }: Case, { what, program, traffic }: Contender, reference: Reference): void {
    for (const runs of CHECKED_RUNS) {
      const { verdict, packet, flow } = this.wrapper(traffic).run(program.fd, traffic, runs);
      const expected = reference(frameOf(traffic, flow));
      if (verdict === expected.verdict && Buffer.compare(packet, expected.packet ?? NOTHING) === 0)
        continue;
      throw new Error(
        `Cannot measure "${name}": after ${runs} runs the ${what} ended flow ${flow} with verdict ${verdict}, ${expected.verdict} is right\n` +
          `is:      ${formatPacket(packet)}\nshould:  ${formatPacket(expected.packet ?? NOTHING)}`,
      );
    }
  }

  #fill({ program, traffic }: Contender): void {
    this.wrapper(traffic).run(program.fd, traffic, FILLING_ROUNDS * traffic.flows);
  }

  #once<T>(key: string, make: () => T): T {
    if (!this.#made.has(key)) this.#made.set(key, make());
    return this.#made.get(key) as T;
  }
}

const ALL = {
  ipv4: true,
  ipv6: true,
  forwardings: Object.values(ForwardingCode).filter((code) => code !== ForwardingCode.none),
} as const;
const NOTHING = new Uint8Array();

const keyOf = ({ family, way, services, pools, backendsPerPool }: World): string =>
  [family, way, services, pools, backendsPerPool].join(" ");

const noMaps = (): never => {
  throw new Error("A program without maps");
};
