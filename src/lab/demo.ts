/**
 * The demo: a lab, ten seconds of requests, a backend that goes and comes back in the middle, and a
 * judgement of what was promised. Says what happens to `DemoView`; prints nothing itself.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { BackendState } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import { hostLinks, leftOf, tracesOf } from "./aftermath.ts";
import { type DemoFigures, DemoState } from "./demo-state.ts";
import { Disruption } from "./disruption.ts";
import { flowOwner } from "./flow-owner.ts";
import { Lab } from "./lab.ts";
import type { LoadReport } from "./load-report.ts";
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
  const disruption = await prepare(lab);
  using meter = new Meter(lab);
  const state = new DemoState({ status: await lab.status(), reading: meter.read() }, disruption);
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
  const change = (text: string, backendState: BackendState): Promise<void> =>
    queue(async () => {
      const { backend } = disruption;
      state.change(elapsedS(), backend, `${backend} is ${text}`);
      const inForce = disruption.begin(Date.now());
      await lab.setBackendState(lab.config.pools[0]?.name ?? "", backend, backendState);
      inForce(Date.now());
    });
  await wait(DOWN_AT * seconds);
  await change("down", "down");
  await wait(UP_AT * seconds);
  await change("back", "up");
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

/** For the second backend of the first pool. */
async function prepare(lab: Lab): Promise<Disruption> {
  const owner = await flowOwner(lab.config);
  const { client } = lab.network.topology.nodes;
  const backend = lab.config.pools[0]?.backends[1]?.name ?? "";
  return new Disruption(backend, ({ vip, localPort }) =>
    owner({
      client: formatIp(addressOf(client, vip.includes(":") ? 6 : 4)),
      clientPort: localPort,
      vip,
      vipPort: lab.port,
    }),
  );
}
