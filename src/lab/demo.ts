/**
 * The demo: a lab, ten seconds of requests, a backend that goes and comes back in the middle, and a
 * judgement of what was promised. Says what happens to `DemoView`; prints nothing itself.
 */
import { setTimeout as delay } from "node:timers/promises";
import { formatIp } from "../net/address.ts";
import { hostLinks, leftOf, tracesOf } from "./aftermath.ts";
import { type DemoFigures, DemoState } from "./demo-state.ts";
import { flowOwner } from "./flow-owner.ts";
import { Lab } from "./lab.ts";
import type { Failure, LoadReport } from "./load-report.ts";
import { Meter } from "./meter.ts";
import { judge, type PromiseResult } from "./promises.ts";
import { addressOf } from "./topology.ts";

export interface DemoOptions {
  /** How long requests are sent. */
  readonly seconds: number;
  /** Ends the demo early. */
  readonly signal: AbortSignal;
}

export interface DemoView {
  /** The first request was answered, so long after this process began. */
  firstAnswer(seconds: number, vip: string, backend: string): void;
  /** Twice a second. */
  figures(figures: DemoFigures): void;
}

export interface DemoResult {
  readonly held: boolean;
  /** From the start of this process to the first HTTP 200 through a VIP. */
  readonly firstAnswerS: number;
  /** From the last request to when nothing was left. */
  readonly takenDownS: number;
  readonly promises: readonly PromiseResult[];
  readonly figures: DemoFigures;
}

/** When the backend goes and comes back, as parts of the whole. */
const DOWN_AT = 0.35;
const UP_AT = 0.65;

/**
 * @throws {Error} when the lab does not start, or as `signal` says. One that was just starting is
 * left to end with this process.
 */
export async function runDemo(options: DemoOptions, view: DemoView): Promise<DemoResult> {
  const links = hostLinks();
  const lab = await Promise.race([Lab.start(), aborted(options.signal)]);
  try {
    return await demonstrate(lab, links, options, view);
  } finally {
    await lab.close();
  }
}

async function demonstrate(
  lab: Lab,
  links: readonly string[],
  { seconds, signal }: DemoOptions,
  view: DemoView,
): Promise<DemoResult> {
  signal.throwIfAborted();
  const first = await lab.client.knock(lab.vips, lab.port);
  const firstAnswerS = performance.now() / 1000;
  view.firstAnswer(firstAnswerS, first.vip, first.backend);
  const changes = await Changes.prepare(lab);
  using meter = new Meter(lab);
  const state = new DemoState({ status: await lab.status(), reading: meter.read() }, (failure) =>
    changes.hadToMove(failure),
  );
  const startMs = performance.now();
  const elapsedS = (): number => (performance.now() - startMs) / 1000;
  const look = async (load: LoadReport): Promise<DemoFigures> => {
    const status = await lab.status();
    return state.add({ elapsedS: elapsedS(), load, status, reading: meter.read() });
  };

  // One after the other: a report, a change, a report.
  let turn: Promise<void> = Promise.resolve();
  const queue = (work: () => Promise<void>): Promise<void> => {
    turn = turn.then(work);
    // Awaited below; until then a failure is nobody's.
    turn.catch(() => {});
    return turn;
  };
  lab.client.load(lab.vips, lab.port, (report) => {
    void queue(async () => view.figures(await look(report)));
  });
  const wait = async (untilS: number): Promise<void> => {
    await delay(Math.max(0, (untilS - elapsedS()) * 1000), undefined, { signal });
    await turn;
  };
  await wait(DOWN_AT * seconds);
  await queue(async () => {
    state.change(elapsedS(), changes.backend, `${changes.backend} is down`);
    await changes.set("down");
  });
  await wait(UP_AT * seconds);
  await queue(async () => {
    state.change(elapsedS(), changes.backend, `${changes.backend} is back`);
    await changes.set("up");
  });
  await wait(seconds);
  const final = await lab.client.stop();
  await turn;
  const figures = await look(final);
  view.figures(figures);
  meter.close();

  const endMs = performance.now();
  const pids = Object.values(lab.network.nodes).map(({ pid }) => pid);
  const traces = tracesOf(pids, links);
  await lab.close();
  const left = await leftOf(traces);
  const takenDownS = (performance.now() - endMs) / 1000;
  const promises = judge(figures, { left });
  const held = promises.every((promise) => promise.held);
  return { held, firstAnswerS, takenDownS, promises, figures };
}

/** Only ever rejects. */
const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });

/** Takes one backend down and back, and knows which connections that may break. */
class Changes {
  readonly backend: string;
  readonly #lab: Lab;
  readonly #pool: string;
  readonly #ownerOf: (failure: Failure) => string;
  /** Unix times between which packets began to see a change. */
  readonly #times: { fromMs: number; toMs: number }[] = [];

  private constructor(lab: Lab, ownerOf: (failure: Failure) => string) {
    const pool = lab.config.pools[0];
    this.#lab = lab;
    this.#pool = pool?.name ?? "";
    this.backend = pool?.backends[1]?.name ?? "";
    this.#ownerOf = ownerOf;
  }

  static async prepare(lab: Lab): Promise<Changes> {
    const owner = await flowOwner(lab.config);
    const { client } = lab.network.topology.nodes;
    return new Changes(lab, ({ vip, localPort }) =>
      owner({
        client: formatIp(addressOf(client, vip.includes(":") ? 6 : 4)),
        clientPort: localPort,
        vip,
        vipPort: lab.port,
      }),
    );
  }

  async set(state: "up" | "down"): Promise<void> {
    const time = { fromMs: Date.now(), toMs: Infinity };
    this.#times.push(time);
    await this.#lab.setBackendState(this.#pool, this.backend, state);
    time.toMs = Date.now();
  }

  /**
   * Without a hand-over, a change breaks the connections that live through it in a bucket of the
   * backend: when it goes, those it had; when it comes back, those others had in its place.
   */
  hadToMove(failure: Failure): boolean {
    const lived = this.#times.some(
      ({ fromMs, toMs }) => failure.openedAtMs <= toMs && failure.atMs >= fromMs,
    );
    return lived && this.#ownerOf(failure) === this.backend;
  }
}
