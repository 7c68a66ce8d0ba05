/**
 * The load: a few workers that each do one thing over and over, as fast as the answers come, and
 * connections that are kept and watched.
 */
import { setTimeout as delay } from "node:timers/promises";
import { DOWNLOAD_SIZE_BYTES, downloadBody } from "./download.ts";
import { type Answer, HttpConnection } from "./http-connection.ts";
import type { BackendLoad, Failure, Latency, LoadMessage, OpenedFlow, Use } from "./load-report.ts";

/** How many connections of each use there are at a time. */
const WORKERS = { fresh: 6, reused: 4, download: 3, kept: 32 } as const satisfies Record<
  Use,
  number
>;
const REUSED_REQUESTS = 50;
const KEPT_EVERY_MS = 100;
const REPORT_EVERY_MS = 500;
/** After a failure, before the next connection: a broken lab must not become a SYN flood. */
const AFTER_FAILURE_MS = 20;

const PORT_FIRST = 10_000;
const PORT_LAST = 60_999;

export class Load {
  readonly #vips: readonly string[];
  readonly #port: number;
  readonly #say: (message: LoadMessage) => void;
  readonly #expected = downloadBody();
  readonly #stopping = new AbortController();
  readonly #workers: Promise<void>[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #portsInUse = new Set<number>();
  readonly #backends = new Map<string, { flows: number; requests: number }>();
  readonly #latencies: number[] = [];
  #reportedLatencies = 0;
  #failures: Failure[] = [];
  #opened: OpenedFlow[] = [];
  #nextPort = PORT_FIRST;
  #nextVip = 0;
  #requests = 0;
  #downloads = 0;
  #bodyBytes = 0;
  readonly #kept = new Set<HttpConnection>();

  /** Starts at once, on all `vips` in turn. */
  constructor(vips: readonly string[], port: number, say: (message: LoadMessage) => void) {
    this.#vips = vips;
    this.#port = port;
    this.#say = say;
    for (const [use, count] of Object.entries(WORKERS) as [Use, number][]) {
      for (let worker = 0; worker < count; worker++) this.#workers.push(this.#work(use));
    }
    this.#timer = setInterval(() => this.#report("report"), REPORT_EVERY_MS);
  }

  /** Lets every worker finish what it does, then reports the last time. */
  async stop(): Promise<void> {
    const kept = this.#keptByBackend();
    this.#stopping.abort();
    await Promise.all(this.#workers);
    clearInterval(this.#timer);
    this.#report("final", kept);
  }

  async #work(use: Use): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const connection = this.#connect();
      try {
        switch (use) {
          case "fresh":
            await this.#greet(connection, true);
            break;
          case "reused":
            for (let count = 1; count <= REUSED_REQUESTS && !signal.aborted; count++) {
              await this.#greet(connection, count === REUSED_REQUESTS);
            }
            break;
          case "download":
            await this.#download(connection);
            break;
          case "kept":
            while (!signal.aborted) {
              await this.#greet(connection, false);
              this.#kept.add(connection);
              // Ended by `stop`, which is no failure.
              await delay(KEPT_EVERY_MS, undefined, { signal }).catch(() => {});
            }
        }
      } catch (error) {
        const { openedAtMs } = connection;
        const { vip, localPort } = connection.target;
        const kind = (error as Error).message;
        const { backend } = connection;
        const atMs = Date.now();
        this.#failures.push({ use, openedAtMs, atMs, vip, localPort, backend, kind });
        await delay(AFTER_FAILURE_MS);
      } finally {
        this.#kept.delete(connection);
        connection.close();
        this.#portsInUse.delete(connection.target.localPort);
      }
    }
  }

  #connect(): HttpConnection {
    do {
      this.#nextPort = this.#nextPort === PORT_LAST ? PORT_FIRST : this.#nextPort + 1;
    } while (this.#portsInUse.has(this.#nextPort));
    this.#portsInUse.add(this.#nextPort);
    const vip = this.#vips[this.#nextVip++ % this.#vips.length] ?? "";
    return new HttpConnection({ vip, port: this.#port, localPort: this.#nextPort });
  }

  async #greet(connection: HttpConnection, last: boolean): Promise<void> {
    const startMs = performance.now();
    const isNew = connection.backend === null;
    const answer = await connection.get("/", { last });
    this.#latencies.push(performance.now() - startMs);
    if (Buffer.from(answer.body).toString() !== `${answer.backend}\n`)
      throw new Error("wrong bytes");
    this.#count(connection, answer, isNew);
  }

  async #download(connection: HttpConnection): Promise<void> {
    const answer = await connection.get("/download", { last: true });
    if (answer.body.length !== DOWNLOAD_SIZE_BYTES) throw new Error("wrong length");
    if (Buffer.compare(answer.body, this.#expected) !== 0) throw new Error("wrong bytes");
    this.#downloads++;
    this.#count(connection, answer, true);
  }

  #count(
    { target, openedAtMs }: HttpConnection,
    { backend, body }: Answer,
    isNewFlow: boolean,
  ): void {
    this.#requests++;
    this.#bodyBytes += body.length;
    let counts = this.#backends.get(backend);
    if (counts === undefined) this.#backends.set(backend, (counts = { flows: 0, requests: 0 }));
    counts.requests++;
    if (!isNewFlow) return;
    counts.flows++;
    const { vip, localPort } = target;
    this.#opened.push({ openedAtMs, atMs: Date.now(), vip, localPort, backend });
  }

  #keptByBackend(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { backend } of this.#kept) {
      if (backend !== null) counts[backend] = (counts[backend] ?? 0) + 1;
    }
    return counts;
  }

  #report(kind: "report" | "final", kept = this.#keptByBackend()): void {
    const from = kind === "final" ? 0 : this.#reportedLatencies;
    this.#reportedLatencies = this.#latencies.length;
    this.#say({
      kind,
      requests: this.#requests,
      downloads: this.#downloads,
      bodyBytes: this.#bodyBytes,
      backends: Object.fromEntries(this.#backends) as Record<string, BackendLoad>,
      latency: latencyOf(this.#latencies.slice(from)),
      opened: this.#opened,
      failures: this.#failures,
      kept,
    });
    this.#failures = [];
    this.#opened = [];
  }
}

/** `null` when there are none. */
function latencyOf(samples: readonly number[]): Latency | null {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number | undefined => sorted[Math.floor(share * sorted.length)];
  const [p50Ms, p99Ms] = [at(0.5), at(0.99)];
  return p50Ms === undefined || p99Ms === undefined ? null : { p50Ms, p99Ms };
}
