/**
 * What a demo has seen so far. Pure: reports of the load client, answers of the director and readings
 * of the meter go in, figures come out.
 */
import type { BackendStatus, DirectorStatus } from "../api/director.ts";
import { directorReasons } from "../datapath/reasons.ts";
import type { BackendState } from "../model/model.ts";
import type { Disruption } from "./disruption.ts";
import type { Failure, Latency, LoadReport } from "./load-report.ts";
import type { Reading, RunTime } from "./meter.ts";

/** Something worth a line. */
export interface DemoEvent {
  /** Since the load began. */
  readonly atS: number;
  readonly text: string;
}

export interface BackendFigures {
  readonly name: string;
  readonly forwarding: string;
  readonly state: BackendState;
  /** Of all weights, 0 to 1. */
  readonly weightShare: number;
  /** Of connections opened while all were up, 0 to 1. */
  readonly flowShare: number;
  /** Of connections opened between the last two reports. */
  readonly flowShareNow: number;
  /** Connections opened while all were up. */
  readonly flows: number;
  readonly requests: number;
  /** What the director sent it, whole frames as they came in. */
  readonly packets: number;
  readonly bytes: number;
}

export interface DemoFigures {
  readonly elapsedS: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly downloads: number;
  readonly bodyBytes: number;
  readonly latency: Latency | null;
  readonly errors: Readonly<Record<string, number>>;
  /** Connections that were answered, and of these the ones by another backend than the table says. */
  readonly connections: number;
  readonly misplaced: number;
  /** Connections of the backend taken down that broke: there is no hand-over yet. */
  readonly moved: number;
  readonly keptOpen: number;
  /** Of the backends that stayed, just before the first change; 0 until then. */
  readonly keptOthers: number;
  readonly keptMoved: number;
  /** Kept connections of the others that broke. */
  readonly keptBroken: number;
  readonly directorInBytes: number;
  readonly directorOutBytes: number;
  readonly clientInBytes: number;
  readonly packets: number;
  readonly dropped: number;
  /** Mean run time of the director's program, and of an empty one on the same machine. */
  readonly nsPerPacket: number | null;
  readonly nsPerPacketEmpty: number | null;
  readonly backends: readonly BackendFigures[];
  readonly events: readonly DemoEvent[];
}

export interface DemoSnapshot {
  readonly elapsedS: number;
  readonly load: LoadReport;
  readonly status: DirectorStatus;
  readonly reading: Reading;
}

/** What may be said of connections in spite of a backend that goes and comes back. */
export type FlowRules = Pick<Disruption, "hadToMove" | "isMisplaced">;

export class DemoState {
  readonly #rules: FlowRules;
  readonly #start: Pick<DemoSnapshot, "status" | "reading">;
  readonly #events: DemoEvent[] = [];
  readonly #errors = new Map<string, number>();
  readonly #flowsAllUp = new Map<string, number>();
  readonly #flowsNow = new Map<string, number>();
  /** Reports to come whose interval may hold a change. */
  #unclear = 0;
  #opened = 0;
  #misplaced = 0;
  #keptOthers = 0;
  #moved = 0;
  #keptMoved = 0;
  #keptBroken = 0;
  #last: DemoSnapshot | null = null;
  #requestsPerSecond = 0;

  /** `start`: as it was before the load. */
  constructor(start: Pick<DemoSnapshot, "status" | "reading">, rules: FlowRules) {
    this.#start = start;
    this.#rules = rules;
  }

  /** A backend goes or comes back: connections opened about now say nothing about shares. */
  change(atS: number, backend: string, text: string): void {
    this.#events.push({ atS, text });
    if (this.#keptOthers === 0) {
      this.#keptOthers = Object.entries(this.#last?.load.kept ?? {})
        .filter(([name]) => name !== backend)
        .reduce((sum, [, count]) => sum + count, 0);
    }
    // The one under way, and the one that began just before.
    this.#unclear = 2;
  }

  add(snapshot: DemoSnapshot): DemoFigures {
    const before = this.#last;
    for (const failure of snapshot.load.failures) this.#fail(failure);
    for (const flow of snapshot.load.opened) {
      this.#opened++;
      if (this.#rules.isMisplaced(flow)) this.#misplaced++;
    }
    const isAllUp = everyBackend(snapshot.status).every(({ state }) => state === "up");
    this.#flowsNow.clear();
    for (const [name, { flows }] of Object.entries(snapshot.load.backends)) {
      const opened = flows - (before?.load.backends[name]?.flows ?? 0);
      this.#flowsNow.set(name, opened);
      if (isAllUp && this.#unclear === 0) {
        this.#flowsAllUp.set(name, (this.#flowsAllUp.get(name) ?? 0) + opened);
      }
    }
    this.#unclear = Math.max(0, this.#unclear - 1);
    const elapsed = snapshot.elapsedS - (before?.elapsedS ?? 0);
    if (snapshot.load.kind === "report" && elapsed > 0) {
      this.#requestsPerSecond = (snapshot.load.requests - (before?.load.requests ?? 0)) / elapsed;
    } else {
      this.#requestsPerSecond = snapshot.load.requests / snapshot.elapsedS;
    }
    this.#last = snapshot;
    return this.#figures(snapshot);
  }

  #fail(failure: Failure): void {
    const isKept = failure.use === "kept";
    if (this.#rules.hadToMove(failure)) {
      this.#moved++;
      if (isKept) this.#keptMoved++;
      return;
    }
    this.#errors.set(failure.kind, (this.#errors.get(failure.kind) ?? 0) + 1);
    if (isKept) this.#keptBroken++;
  }

  #figures({ elapsedS, load, status, reading }: DemoSnapshot): DemoFigures {
    const begin = this.#start;
    const weights = everyBackend(status).reduce((sum, { weight }) => sum + weight, 0);
    const beginBackends = everyBackend(begin.status);
    return {
      elapsedS,
      requests: load.requests,
      requestsPerSecond: this.#requestsPerSecond,
      downloads: load.downloads,
      bodyBytes: load.bodyBytes,
      latency: load.latency,
      errors: Object.fromEntries(this.#errors),
      connections: this.#opened,
      misplaced: this.#misplaced,
      moved: this.#moved,
      keptOpen: Object.values(load.kept).reduce((sum, count) => sum + count, 0),
      keptOthers: this.#keptOthers,
      keptMoved: this.#keptMoved,
      keptBroken: this.#keptBroken,
      directorInBytes: status.received.bytes - begin.status.received.bytes,
      directorOutBytes: reading.directorOutBytes - begin.reading.directorOutBytes,
      clientInBytes: reading.clientInBytes - begin.reading.clientInBytes,
      packets: status.received.packets - begin.status.received.packets,
      dropped: droppedOf(status) - droppedOf(begin.status),
      nsPerPacket: meanNs(begin.reading.program, reading.program),
      nsPerPacketEmpty: meanNs(begin.reading.empty, reading.empty),
      backends: everyBackend(status).map((backend, index) => ({
        name: backend.name,
        forwarding: backend.forwarding,
        state: backend.state,
        weightShare: backend.weight / weights,
        flowShare: share(this.#flowsAllUp, backend.name),
        flowShareNow: share(this.#flowsNow, backend.name),
        flows: this.#flowsAllUp.get(backend.name) ?? 0,
        requests: load.backends[backend.name]?.requests ?? 0,
        packets: backend.packets - (beginBackends[index]?.packets ?? 0),
        bytes: backend.bytes - (beginBackends[index]?.bytes ?? 0),
      })),
      events: [...this.#events],
    };
  }
}

const everyBackend = ({ pools }: DirectorStatus): readonly BackendStatus[] =>
  pools.flatMap(({ backends }) => backends);

const droppedOf = ({ reasons }: DirectorStatus): number =>
  directorReasons
    .filter(({ fate }) => fate === "dropped")
    .reduce((sum, { name }) => sum + (reasons[name]?.packets ?? 0), 0);

function share(counts: ReadonlyMap<string, number>, name: string): number {
  const sum = [...counts.values()].reduce((total, count) => total + count, 0);
  return sum === 0 ? 0 : (counts.get(name) ?? 0) / sum;
}

const meanNs = (from: RunTime, to: RunTime): number | null =>
  to.runs === from.runs ? null : (to.ns - from.ns) / (to.runs - from.runs);
