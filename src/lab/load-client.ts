/** The lab's client from outside: orders in, reports out. */
import { createInterface } from "node:readline";
import type { FirstAnswer, LoadMessage, LoadOrder, LoadReport } from "./load-report.ts";
import type { LabNode } from "./node.ts";

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

  /** Asks until a request through a VIP is answered with 200. */
  async knock(vips: readonly string[], port: number): Promise<FirstAnswer> {
    const answered = new Promise<FirstAnswer>((resolve) => {
      this.#onMessage = (message) => {
        if (message.kind === "first") resolve(message);
      };
    });
    this.#order({ order: "knock", vips, port });
    return await answered;
  }

  /** Starts the load; reports come twice a second. */
  load(vips: readonly string[], port: number, onReport: (report: LoadReport) => void): void {
    this.#onMessage = (message) => {
      if (message.kind === "report") onReport(message);
    };
    this.#order({ order: "load", vips, port });
  }

  /** Ends the load in good order and gives the last report. */
  async stop(): Promise<LoadReport> {
    const final = new Promise<LoadReport>((resolve) => {
      this.#onMessage = (message) => {
        if (message.kind === "final") resolve(message);
      };
    });
    this.#order({ order: "stop" });
    return await final;
  }

  #order(order: LoadOrder): void {
    this.#node.process.stdin?.write(`${JSON.stringify(order)}\n`);
  }
}
