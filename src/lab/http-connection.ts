/**
 * One TCP connection that speaks HTTP, from a port of our choice: a failure then has a flow, also
 * when the connection never came about.
 */
import { Agent, get, type IncomingMessage } from "node:http";

const ANSWER_WITHIN_MS = 5000;

export interface Target {
  readonly vip: string;
  readonly port: number;
  readonly localPort: number;
}

export interface Answer {
  /** What the server calls itself. */
  readonly backend: string;
  readonly body: Uint8Array;
}

export class HttpConnection {
  readonly target: Target;
  /** Unix time from when on it may be opened: the first request does. */
  readonly openedAtMs = Date.now();
  /** Who answered last. */
  backend: string | null = null;
  readonly #agent: Agent;

  constructor(target: Target) {
    this.target = target;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, localPort: target.localPort });
  }

  /**
   * One request; `last` asks the server to close the connection after it.
   * @throws {Error} whose message is the kind of failure
   */
  get(path: string, { last = false } = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { vip: host, port } = this.target;
      const request = get({
        host,
        port,
        path,
        agent: this.#agent,
        headers: last ? { connection: "close" } : {},
      });
      // Not the idle time of the socket: the whole request.
      const timer = setTimeout(() => request.destroy(new Error("timeout")), ANSWER_WITHIN_MS);
      const fail = (error: Error): void => {
        clearTimeout(timer);
        reject(new Error(kindOf(error), { cause: error }));
      };
      request.on("error", fail);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", fail);
        response.on("end", () => {
          clearTimeout(timer);
          this.#finish(response, Buffer.concat(chunks), resolve, reject);
        });
      });
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  #finish(
    response: IncomingMessage,
    body: Uint8Array,
    resolve: (answer: Answer) => void,
    reject: (error: Error) => void,
  ): void {
    const said = response.headers["x-backend"];
    if (response.statusCode !== 200 || typeof said !== "string") {
      reject(new Error(`status ${response.statusCode}`));
      return;
    }
    // One TCP connection has one server: another name on it would be worse than an error.
    if (this.backend !== null && this.backend !== said) {
      reject(new Error(`another server: ${said}`));
      return;
    }
    this.backend = said;
    resolve({ backend: said, body });
  }
}

const kindOf = (error: NodeJS.ErrnoException): string => error.code ?? error.message;
