/** The lab's client from outside: orders in, reports out. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { FirstAnswer, LoadMessage, LoadOrder, LoadReport } from "./load-report.ts";
import type { LabNode } from "./node.ts";

const FIRST_ANSWER_WITHIN_MS = 30_000;
/** Longer than any request may take. */
const STOPPED_WITHIN_MS = 15_000;

export class LoadClient {
  readonly #node: LabNode;
  #onMessage: (message: LoadMessage) => void = () => {};

  /** `node` is held by `client-main`. */
  constructor(node: LabNode) {
    this.#node = node;
    const { stdout } = node.process;
    if (stdout === null) throw new Error(`Node "${node.name}" has no output to read`);
    createInterface({ input: stdout }).on("line", (line) =>
      this.#onMessage(JSON.parse(line) as LoadMessage),
    );
  }

  /**
   * Asks until a request through a VIP is answered with 200.
   * @throws {Error} when none is for 30 s
   */
  async knock(vips: readonly string[], port: number): Promise<FirstAnswer> {
    const answered = new Promise<FirstAnswer>((resolve) => {
      this.#onMessage = (message) => {
        if (message.kind === "first") resolve(message);
      };
    });
    this.#order({ order: "knock", vips, port });
    return await this.#within(answered, FIRST_ANSWER_WITHIN_MS, "get an answer through a VIP");
  }

  /** Starts the load; reports come twice a second. */
  load(vips: readonly string[], port: number, onReport: (report: LoadReport) => void): void {
    this.#onMessage = (message) => {
      if (message.kind === "report") onReport(message);
    };
    this.#order({ order: "load", vips, port });
  }

  /**
   * Ends the load in good order and gives the last report.
   * @throws {Error} when the client does not come to an end
   */
  async stop(): Promise<LoadReport> {
    const final = new Promise<LoadReport>((resolve) => {
      this.#onMessage = (message) => {
        if (message.kind === "final") resolve(message);
      };
    });
    this.#order({ order: "stop" });
    return await this.#within(final, STOPPED_WITHIN_MS, "end the load");
  }

  async #within<T>(message: Promise<T>, timeMs: number, action: string): Promise<T> {
    const finished = new AbortController();
    const { signal } = finished;
    const { process } = this.#node;
    const outcome = await Promise.race([
      message.then((value) => ({ value })),
      once(process, "exit", { signal }).then(
        () => "it ended",
        () => "",
      ),
      delay(timeMs, `not within ${timeMs / 1000} s`, { signal }).catch(() => ""),
    ]);
    finished.abort();
    if (typeof outcome === "object") return outcome.value;
    throw new Error(`The client of the lab cannot ${action}: ${outcome}`);
  }

  #order(order: LoadOrder): void {
    this.#node.process.stdin?.write(`${JSON.stringify(order)}\n`);
  }
}
