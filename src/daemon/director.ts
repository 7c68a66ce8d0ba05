/**
 * The director: assembles what the other modules provide, in this order.
 *
 *     facts of the host → problems (all at once, nothing touched yet)
 *     tables, in a worker          kernel process, both at the same time
 *     maps and arena, filled  →  programs attached  →  API
 *
 * While it runs, three things change what packets see: a backend's state (a store a bucket), a
 * neighbour's MAC (one store), and links, addresses or routes (a new state laid out and published).
 */
import {
  directorApi,
  type DirectorControl,
  type DirectorStatus,
  type StateChange,
} from "../api/director.ts";
import type { ApiSocket } from "../api/serve.ts";
import { DirectorDatapath } from "../apply/director-datapath.ts";
import { DirectorTables } from "../apply/director-tables.ts";
import { type Attachment, ownLinks } from "../apply/generation.ts";
import { Neighbours } from "../apply/neighbours.ts";
import { DEFAULT_HASH_KEY, flowHashKey } from "../datapath/flow-hash.ts";
import { KernelProcess } from "../kernel/kernel-process.ts";
import { BPFFS, isOnBpffs } from "../kernel/pins.ts";
import { NetlinkError } from "../kernel/netlink.ts";
import { readMachineFacts, unmetRequirement } from "../kernel/requirements.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { type RtnetlinkEvent, RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import { attachedXdp } from "../kernel/xdp-attached.ts";
import type { BackendState, DirectorConfig } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import {
  arenaBytesFor,
  type DesiredState,
  desiredState,
  featuresOf,
} from "../plan/desired-state.ts";
import { directorProblems, vipProblems } from "../plan/director-problems.ts";
import { type Path, pathTo } from "../plan/path.ts";
import { LiveTable } from "../schedule/live-table.ts";
import type { TablePlan } from "../schedule/table.ts";
import { buildTablesInWorker } from "../schedule/worker.ts";
import { directorStatus } from "./director-status.ts";
import { pinFolder } from "./instance.ts";
import type { Logger } from "./log.ts";
import { claim, refuseSecond } from "./running.ts";
import { StartError } from "./start-error.ts";

export interface DirectorDeps {
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

const NO_MAC = new Uint8Array(0);
/** Events of links and routes come in bursts; one look at the host answers a burst. */
const LOOK_AGAIN_AFTER_MS = 50;
/** After a look that failed, events or not; each failure in a row doubles it. */
const TRY_AGAIN_AFTER_MS = 1000;
const TRY_AGAIN_AFTER_MAX_MS = 60_000;

export class Director implements DirectorControl {
  readonly #config: DirectorConfig;
  readonly #deps: DirectorDeps;
  readonly #kernel: KernelProcess;
  readonly #rtnetlink: Rtnetlink;
  readonly #neighbours: Neighbours;
  readonly #plans: readonly TablePlan[];
  readonly #live: ReadonlyMap<string, LiveTable>;
  readonly #states = new Map<string, Map<string, BackendState>>();
  #state: DesiredState;
  #datapath: DirectorDatapath;
  #tables: DirectorTables;
  #attachments: readonly Attachment[] = [];
  #attached = "";
  #events: RtnetlinkEvents | null = null;
  readonly #api: ApiSocket;
  /** What is not as configured and was logged; said once, not with every event. */
  #lacks: ReadonlySet<string> = new Set();
  /** Why a next hop cannot be followed, by interface and neighbour. */
  readonly #unfollowed = new Map<string, string>();
  #closed = false;
  #tryAgainMs = TRY_AGAIN_AFTER_MS;
  #look: { readonly timer: NodeJS.Timeout; readonly dueMs: number } | null = null;
  #looking: Promise<void> = Promise.resolve();

  /**
   * Starts a director and returns when packets are forwarded.
   * @throws {StartError} with every problem found; nothing was changed
   * @throws {KernelError} when the kernel refuses
   */
  static async start(config: DirectorConfig, deps: DirectorDeps): Promise<Director> {
    const unmet = unmetRequirement(
      "run a director",
      ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"],
      readMachineFacts(),
    );
    if (unmet !== null) throw new StartError([unmet]);
    if (!isOnBpffs(BPFFS)) {
      throw new StartError([
        `Cannot run a director: no BPF file system is mounted at ${BPFFS}; mount it with "mount -t bpf bpf ${BPFFS}"`,
      ]);
    }
    await refuseSecond(config.instance, "director");
    const rtnetlink = Rtnetlink.open();
    const problems = hostProblems(config, rtnetlink);
    if (problems.length > 0) {
      rtnetlink.close();
      throw new StartError(problems);
    }
    const api = await claim(config.instance, "director");
    let director: Director;
    try {
      const [plans, kernel] = await Promise.all([
        buildTablesInWorker(config.pools.map(({ backends }) => backends)),
        KernelProcess.start(),
      ]);
      director = new Director(config, deps, plans, kernel, rtnetlink, api);
    } catch (error) {
      await api.close();
      throw error;
    }
    const run = director.#run();
    // What the host does meanwhile is looked at afterwards: one publishes and attaches at a time.
    director.#looking = run.catch(() => {});
    try {
      await run;
      return director;
    } catch (error) {
      director.#stopLooking();
      await director.#datapath.undo().catch((cause: Error) => {
        deps.log.error({ error: cause.message }, "cannot undo what this start did");
      });
      await director.close();
      throw error;
    }
  }

  private constructor(
    config: DirectorConfig,
    deps: DirectorDeps,
    plans: readonly TablePlan[],
    kernel: KernelProcess,
    rtnetlink: Rtnetlink,
    api: ApiSocket,
  ) {
    this.#config = config;
    this.#api = api;
    this.#deps = deps;
    this.#kernel = kernel;
    this.#rtnetlink = rtnetlink;
    this.#plans = plans;
    this.#live = new Map(
      config.pools.map(({ name, backends }, index) => [
        name,
        new LiveTable(plans[index] as TablePlan, backends.keys()),
      ]),
    );
    for (const { name, backends } of config.pools) {
      this.#states.set(name, new Map(backends.map((backend) => [backend.name, "up"])));
    }
    this.#neighbours = new Neighbours({
      rtnetlink,
      nowMs: deps.nowMs,
      onChange: (nextHop, mac) => {
        const fields = { neighbour: formatIp(nextHop.neighbour), ifindex: nextHop.ifindex };
        this.#tables.resolve(nextHop, mac);
        if (mac !== null) this.#unfollowed.delete(`${fields.ifindex} ${fields.neighbour}`);
        if (mac === null) deps.log.error(fields, "next hop lost");
        else deps.log.info({ ...fields, mac: formatMac(mac) }, "next hop resolved");
      },
      onError: (nextHop, error) => {
        const { ifindex } = nextHop;
        const neighbour = formatIp(nextHop.neighbour);
        // Asked for every second; said once.
        if (this.#unfollowed.get(`${ifindex} ${neighbour}`) === error.message) return;
        this.#unfollowed.set(`${ifindex} ${neighbour}`, error.message);
        const isFull = error instanceof NetlinkError && error.code === "ENOBUFS";
        const family = nextHop.neighbour.family === 4 ? "ipv4" : "ipv6";
        // net/core/neighbour.c, neigh_alloc(): more entries than that are refused.
        const what = isFull ? { do: `raise net.${family}.neigh.default.gc_thresh3` } : {};
        const fields = { neighbour, ifindex, error: error.message, ...what };
        deps.log.error(fields, "next hop cannot be followed");
      },
    });
    this.#state = this.#desired();
    this.#datapath = new DirectorDatapath(
      pinFolder(config.instance, "director"),
      {
        arenaBytes: arenaBytesFor(this.#state),
        counters:
          config.services.length +
          config.pools.reduce((sum, { backends }) => sum + backends.length, 0),
      },
      kernel,
    );
    this.#tables = new DirectorTables(this.#datapath.arena, (nextHop) =>
      this.#neighbours.follow(nextHop),
    );
  }

  setBackendState(pool: string, backend: string, state: BackendState): StateChange {
    const states = this.#states.get(pool);
    const live = this.#live.get(pool);
    if (states === undefined || live === undefined) return "no such pool";
    const before = states.get(backend);
    if (before === undefined) return "no such backend";
    if (before === state) return "unchanged";
    states.set(backend, state);
    const member = [...states.keys()].indexOf(backend);
    const moved = live.setUsable(member, state === "up");
    this.#tables.setOwners(pool, moved, live.owners);
    this.#deps.log.info(
      { pool, backend, from: before, to: state, moved: moved.length },
      "backend state",
    );
    return "changed";
  }

  status(): DirectorStatus {
    return directorStatus({
      config: this.#config,
      state: this.#state,
      attachments: this.#attachments,
      states: this.#states,
      live: this.#live,
      nextHops: this.#tables.nextHops(),
      reasons: this.#datapath.reasons(),
      traffic: (first, count) => this.#datapath.traffic(first, count),
    });
  }

  /** Ends the daemon. Programs, maps and links stay: packets are forwarded as before. */
  async close(): Promise<void> {
    this.#stopLooking();
    await this.#looking;
    await this.#api.close();
    this.#neighbours.close();
    this.#rtnetlink.close();
    await this.#kernel.close();
  }

  #stopLooking(): void {
    this.#closed = true;
    if (this.#look !== null) clearTimeout(this.#look.timer);
    this.#look = null;
    this.#events?.close();
  }

  async #run(): Promise<void> {
    const { log } = this.#deps;
    this.#events = RtnetlinkEvents.open((event) => this.#onEvent(event));
    await this.#publish(this.#state);
    await this.#attach();
    this.#api.use(directorApi(this));
    for (const { interface: name, mode, takenOver, fallback, verifiedInstructions } of this
      .#attachments) {
      if (fallback !== null) log.warn({ interface: name, why: fallback }, "generic XDP, slower");
      log.info({ interface: name, mode, takenOver, verifiedInstructions }, "attached");
    }
    if (this.#config.hashKey === null) {
      log.warn({}, "no hashKeyFile: clients can work out which backend they reach");
    }
    log.info({ instance: this.#config.instance, pid: process.pid }, "director running");
  }

  #onEvent(event: RtnetlinkEvent): void {
    switch (event.kind) {
      case "neighbour":
        this.#neighbours.onEvent(event.change, event.neighbour);
        break;
      case "lost":
        this.#neighbours.readAgain();
        this.#lookSoon();
        break;
      case "link":
      case "address":
      case "route":
      case "rule":
        this.#lookSoon();
        break;
    }
  }

  #lookSoon(afterMs = LOOK_AGAIN_AFTER_MS): void {
    if (this.#closed) return;
    const dueMs = this.#deps.nowMs() + afterMs;
    if (this.#look !== null) {
      if (this.#look.dueMs <= dueMs) return;
      clearTimeout(this.#look.timer);
    }
    const timer = setTimeout(() => {
      this.#look = null;
      this.#looking = this.#looking.then(() => this.#lookAgain());
    }, afterMs);
    this.#look = { timer, dueMs };
  }

  /** Follows the host: new paths are published, interfaces that changed get a program again. */
  async #lookAgain(): Promise<void> {
    if (this.#closed) return;
    try {
      const desired = this.#desired();
      if (pathsText(desired) !== pathsText(this.#state)) {
        await this.#publish(desired);
        this.#deps.log.info({}, "paths to backends changed");
      }
      await this.#attach();
      this.#tryAgainMs = TRY_AGAIN_AFTER_MS;
    } catch (error) {
      const againMs = this.#tryAgainMs;
      this.#tryAgainMs = Math.min(againMs * 2, TRY_AGAIN_AFTER_MAX_MS);
      this.#deps.log.error(
        { error: (error as Error).message, againMs },
        "cannot follow a change of this host",
      );
      this.#lookSoon(againMs);
    }
  }

  /** `#state` is what was published and followed in full: after a failure it is published again. */
  async #publish(state: DesiredState): Promise<void> {
    await this.#tables.publish(state, ({ name }) => (this.#live.get(name) as LiveTable).owners);
    this.#state = state;
    this.#neighbours.retain(this.#tables.nextHops());
  }

  /** Attaches to the configured interfaces, unless they are as they were the last time. */
  async #attach(): Promise<void> {
    const all = this.#rtnetlink.links();
    const links = this.#config.interfaces.flatMap((name) => {
      const link = all.find((candidate) => candidate.name === name);
      return link === undefined ? [] : [link];
    });
    const held = ownLinks(pinFolder(this.#config.instance, "director"));
    const attached = links
      .map(({ ifindex, mac }) => `${ifindex} ${formatMac(mac ?? NO_MAC)}`)
      .join();
    if (attached === this.#attached && links.every(({ ifindex }) => held.has(ifindex))) return;
    this.#attachments = await this.#datapath.attach(links, this.#config.xdpMode, {
      ...featuresOf(this.#state),
      hashKey: flowHashKey(this.#config.hashKey ?? DEFAULT_HASH_KEY),
    });
    this.#attached = attached;
  }

  #desired(): DesiredState {
    const links = this.#rtnetlink.links();
    const lacks = new Map<string, () => void>();
    const { log } = this.#deps;
    for (const name of this.#config.interfaces) {
      if (links.some((link) => link.name === name)) continue;
      lacks.set(`interface ${name}`, () => log.error({ interface: name }, "interface is gone"));
    }
    for (const why of vipProblems(this.#config, {
      links,
      addresses: this.#rtnetlink.addresses(),
    })) {
      lacks.set(why, () => log.error({ why }, "VIP is on this host"));
    }
    const desired = desiredState(this.#config, this.#plans, (pool, backend): Path | null => {
      const result = pathTo(backend, this.#rtnetlink.route(backend.address), links);
      if (result.kind === "path") return result.path;
      const fields = { pool: pool.name, backend: backend.name, why: result.why };
      lacks.set(Object.values(fields).join("/"), () => log.error(fields, "no path"));
      return null;
    });
    for (const [lack, say] of lacks) if (!this.#lacks.has(lack)) say();
    this.#lacks = new Set(lacks.keys());
    return desired;
  }
}

function hostProblems(config: DirectorConfig, rtnetlink: Rtnetlink): readonly string[] {
  return directorProblems(config, {
    links: rtnetlink.links(),
    addresses: rtnetlink.addresses(),
    routeTo: (backend) => rtnetlink.route(backend.address),
    ownIfindexes: ownLinks(pinFolder(config.instance, "director")),
    xdpProgramOn: ({ ifindex }) => {
      const attached = attachedXdp(ifindex);
      if (attached === null) return "of unknown origin";
      return `id ${attached.programId}${attached.name === null ? "" : ` "${attached.name}"`}`;
    },
  });
}

const pathText = (path: Path | null): string =>
  path === null
    ? "none"
    : [
        path.ifindex,
        formatMac(path.mac),
        formatIp(path.neighbour),
        formatIp(path.source),
        path.mtu,
      ].join(" ");

const pathsText = (state: DesiredState): string =>
  state.pools.flatMap(({ members }) => members.map(({ path }) => pathText(path))).join("\n");
