/** What the load client says, a JSON object a line on its stdout. */

/** What a connection is for. */
export const uses = ["fresh", "reused", "download", "kept"] as const;
/**
 * `fresh`: one request on a new connection. `reused`: many requests on one. `download`: 1 MB on a
 * new connection. `kept`: open all the time, a request every 100 ms.
 */
export type Use = (typeof uses)[number];

/** A connection and who answered on it first. */
export interface OpenedFlow {
  /** Unix times: when it was to be opened, and when it was answered. */
  readonly openedAtMs: number;
  readonly atMs: number;
  readonly vip: string;
  readonly localPort: number;
  readonly backend: string;
}

/** A connection that did not do what it was for. */
export interface Failure {
  readonly use: Use;
  /** Unix times: when it was to be opened, and when it failed. */
  readonly openedAtMs: number;
  readonly atMs: number;
  readonly vip: string;
  readonly localPort: number;
  /** Who answered on it before, `null` when nobody had. */
  readonly backend: string | null;
  /** `ECONNRESET`, `timeout`, `wrong bytes` … */
  readonly kind: string;
}

/** Since the start. */
export interface BackendLoad {
  /** Connections it accepted: flows. */
  readonly flows: number;
  readonly requests: number;
}

export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Sums are since the start, whatever the interval. */
export interface LoadReport {
  readonly kind: "report" | "final";
  readonly requests: number;
  readonly downloads: number;
  /** Of bodies. */
  readonly bodyBytes: number;
  /** By the name the server said. */
  readonly backends: Readonly<Record<string, BackendLoad>>;
  /** Of small requests: since the last report, in the final one since the start. */
  readonly latency: Latency | null;
  /** Since the last report. */
  readonly opened: readonly OpenedFlow[];
  readonly failures: readonly Failure[];
  /** Kept connections that are open now, by backend; in the final report as before it. */
  readonly kept: Readonly<Record<string, number>>;
}

/** The first line of all: somebody answered with 200. */
export interface FirstAnswer {
  readonly kind: "first";
  readonly vip: string;
  readonly backend: string;
}

export type LoadMessage = LoadReport | FirstAnswer;

/** What the client is told, a JSON object a line on its stdin. */
export type LoadOrder =
  /** Ask until one request is answered. */
  | { readonly order: "knock"; readonly vips: readonly string[]; readonly port: number }
  | { readonly order: "load"; readonly vips: readonly string[]; readonly port: number }
  /** End all connections in good order, report a last time. */
  | { readonly order: "stop" };
