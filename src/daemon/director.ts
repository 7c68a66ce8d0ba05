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
import { once } from "node:events";
import {
  directorApi,
  type DirectorControl,
  type DirectorStatus,
  type StateChange,
} from "../api/director.ts";
import type { ApiSocket } from "../api/serve.ts";
import { type DirectorAttachment, DirectorDatapath } from "../apply/director-datapath.ts";
import { DirectorTables } from "../apply/director-tables.ts";
import { ownLinks } from "../apply/generation.ts";
import { Neighbours } from "../apply/neighbours.ts";
import { DEFAULT_HASH_KEY, type FlowHashKey, flowHashKey } from "../datapath/flow-hash.ts";
import type { DirectorVariant } from "../datapath/director/variant.ts";
import { KernelProcess } from "../kernel/kernel-process.ts";
import { NetlinkError } from "../kernel/netlink.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import { type RtnetlinkEvent, RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import type { BackendState, DirectorConfig } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import type { IpPrefix } from "../net/prefix.ts";
import {
  arenaBytesFor,
  type DesiredState,
  desiredState,
  featuresOf,
  indexShapeFor,
} from "../plan/desired-state.ts";
import { vipProblems } from "../plan/director-problems.ts";
import { type OwnAddresses, ownAddresses } from "../plan/own-address.ts";
import { type Path, pathTo } from "../plan/path.ts";
import { mostTags, pathsText } from "../plan/state-paths.ts";
import { vlanTagsFor } from "../plan/vlan.ts";
import { LiveTable } from "../schedule/live-table.ts";
import type { TablePlan } from "../schedule/table.ts";
import { buildTablesInWorker } from "../schedule/worker.ts";
import { BackendStates } from "./backend-states.ts";
import { refuseDirector } from "./director-start.ts";
import { directorStatus } from "./director-status.ts";
import { directorStateFile, pinFolder } from "./instance.ts";
import type { Logger } from "./log.ts";
import { Looks } from "./looks.ts";
import { claim } from "./running.ts";

export interface DirectorDeps {
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

const NO_MAC = new Uint8Array(0);
const CLOSE_WITHIN_MS = 5000;
export class Director implements DirectorControl {
  readonly #config: DirectorConfig;
  readonly #deps: DirectorDeps;
  readonly #kernel: KernelProcess;
  readonly #rtnetlink: Rtnetlink;
  readonly #neighbours: Neighbours;
  readonly #plans: readonly TablePlan[];
  readonly #live: ReadonlyMap<string, LiveTable>;
  readonly #states: BackendStates;
  #state: DesiredState;
  #datapath: DirectorDatapath;
  #hashKey: FlowHashKey;
  #tables: DirectorTables;
  /** Index of each configured interface's device. */
  readonly #interfaces = new Map<string, number>();
  #attachments: readonly DirectorAttachment[] = [];
  #attached = "";
  #events: RtnetlinkEvents | null = null;
  readonly #api: ApiSocket;
  /** What is not as configured and was logged; said once, not with every event. */
  #lacks: ReadonlySet<string> = new Set();
  /** Why a next hop cannot be followed, by interface and neighbour. */
  readonly #unfollowed = new Map<string, string>();
  readonly #looks: Looks;

  /**
   * Starts a director and returns when packets are forwarded.
   * @throws {StartError} with every problem found; nothing was changed
   * @throws {KernelError} when the kernel refuses
   */
  static async start(config: DirectorConfig, deps: DirectorDeps): Promise<Director> {
    const rtnetlink = Rtnetlink.open();
    try {
      for (const warning of await refuseDirector(config, rtnetlink)) {
        deps.log.warn({ warning }, "host may not fit");
      }
    } catch (error) {
      rtnetlink.close();
      throw error;
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
    director.#looks.after(run);
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
    this.#states = new BackendStates(config.pools, directorStateFile(config.instance));
    this.#live = new Map(
      config.pools.map(({ name, backends }, index) => {
        const states = this.#states.of(name);
        const up = [...backends.keys()].filter((member) => {
          return states?.get(backends[member]?.name ?? "") === "up";
        });
        return [name, new LiveTable(plans[index] as TablePlan, up)];
      }),
    );
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
    this.#looks = new Looks({
      nowMs: deps.nowMs,
      look: () => this.#lookAgain(),
      onError: (error, againMs) => {
        const fields = { error: error.message, againMs };
        deps.log.error(fields, "cannot follow a change of this host");
      },
    });
    this.#state = this.#desired();
    const index = indexShapeFor(this.#state);
    this.#hashKey = flowHashKey(config.hashKey ?? DEFAULT_HASH_KEY);
    this.#datapath = new DirectorDatapath(
      pinFolder(config.instance, "director"),
      {
        arenaBytes: arenaBytesFor(this.#state),
        index,
        counters:
          config.services.length +
          config.pools.reduce((sum, { backends }) => sum + backends.length, 0),
      },
      kernel,
    );
    this.#tables = new DirectorTables(
      this.#datapath.arena,
      { index, hashKey: this.#hashKey, outerSources: outerSourcesOf(config) },
      (nextHop) => this.#neighbours.follow(nextHop),
    );
  }

  setBackendState(pool: string, backend: string, state: BackendState): StateChange {
    const states = this.#states.of(pool);
    const live = this.#live.get(pool);
    if (states === undefined || live === undefined) return "no such pool";
    const before = states.get(backend);
    if (before === undefined) return "no such backend";
    if (before === state) return "unchanged";
    this.#states.set(pool, backend, state);
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
      stateOf: (pool, backend) => this.#states.of(pool)?.get(backend) ?? "up",
      live: this.#live,
      nextHops: this.#tables.nextHops(),
      reasons: this.#datapath.reasons(),
      traffic: (first, count) => this.#datapath.traffic(first, count),
    });
  }

  /** Ends the daemon. Programs, maps and links stay: packets are forwarded as before. */
  async close(): Promise<void> {
    this.#stopLooking();
    // What waits for the kernel process fails when that is closed: ending must not take for ever.
    const patience = AbortSignal.timeout(CLOSE_WITHIN_MS);
    await Promise.race([this.#looks.idle(), once(patience, "abort")]);
    await this.#kernel.close();
    await this.#looks.idle();
    await this.#api.close();
    this.#neighbours.close();
    this.#rtnetlink.close();
    this.#datapath.close();
  }

  #stopLooking(): void {
    this.#looks.stop();
    this.#events?.close();
  }

  async #run(): Promise<void> {
    const { log } = this.#deps;
    this.#events = RtnetlinkEvents.open((event) => this.#onEvent(event));
    await this.#publish(this.#state);
    await this.#attach(this.#state);
    this.#api.use(directorApi(this));
    if (this.#states.out().length > 0) {
      log.warn({ backends: this.#states.out() }, "backends are out since before this start");
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
        this.#looks.soon();
        break;
      case "link":
      case "address":
      case "route":
      case "rule":
        this.#looks.soon();
        break;
    }
  }

  /** Follows the host: new paths are published, interfaces that changed get a program again. */
  async #lookAgain(): Promise<void> {
    const desired = this.#desired();
    if (pathsText(desired) !== pathsText(this.#state)) {
      // A program that knows fewer tags would send frames of the new way without them.
      if (mostTags(desired) > mostTags(this.#state)) await this.#attach(desired);
      await this.#publish(desired);
      this.#deps.log.info({}, "paths to backends changed");
    }
    await this.#attach(this.#state);
  }

  /** `#state` is what was published and followed in full: after a failure it is published again. */
  async #publish(state: DesiredState): Promise<void> {
    await this.#tables.publish(state, ({ name }) => (this.#live.get(name) as LiveTable).owners);
    this.#state = state;
    this.#neighbours.retain(this.#tables.nextHops());
  }

  /** Attaches to the configured interfaces, unless they are as they were the last time. */
  async #attach(state: DesiredState): Promise<void> {
    const all = this.#rtnetlink.links();
    const links = this.#config.interfaces.flatMap((name) => this.#linkOf(name, all) ?? []);
    const held = ownLinks(pinFolder(this.#config.instance, "director"));
    const { interfaces, xdpMode, tunnels } = this.#config;
    const vlanTags = Math.max(vlanTagsFor(this.#config.vlanTags, interfaces, all), mostTags(state));
    const addresses = this.#rtnetlink.addresses();
    const addressesOf = (link: Link): OwnAddresses => ownAddresses(link, all, addresses);
    const attached = [
      vlanTags,
      ...links.map((link) => {
        const { ipv4, ipv6 } = addressesOf(link);
        const own = [ipv4, ipv6].map((address) => (address === null ? "" : formatIp(address)));
        return `${link.ifindex} ${formatMac(link.mac ?? NO_MAC)} ${own.join(" ")}`;
      }),
    ].join();
    if (attached === this.#attached && links.every(({ ifindex }) => held.has(ifindex))) return;
    this.#attachments = await this.#datapath.attach(links, xdpMode, {
      features: featuresOf(state),
      hashKey: this.#hashKey,
      addressesOf,
      tunnels,
      outerSources: outerSourcesOf(this.#config),
      vlanTags,
      needsTags: mostTags(state) > 0,
    });
    this.#attached = attached;
    this.#reportAttachments();
  }

  #reportAttachments(): void {
    const { log } = this.#deps;
    for (const attachment of this.#attachments) {
      const { mode, takenOver, fallback, verifiedInstructions, vlanTags } = attachment;
      const { interface: name, without, refusal } = attachment;
      if (fallback !== null) log.warn({ interface: name, why: fallback }, "generic XDP, slower");
      if (without.length > 0) {
        log.error(
          { interface: name, without, why: refusal },
          "the kernel refuses the whole program",
        );
      }
      log.info({ interface: name, mode, takenOver, vlanTags, verifiedInstructions }, "attached");
    }
  }

  /** The interface of a configured name: once found the same device, whatever it is called since. */
  #linkOf(name: string, links: readonly Link[]): Link | undefined {
    const known = this.#interfaces.get(name);
    const link =
      links.find(({ ifindex }) => ifindex === known) ?? links.find((other) => other.name === name);
    if (link !== undefined) this.#interfaces.set(name, link.ifindex);
    return link;
  }

  #desired(): DesiredState {
    const links = this.#rtnetlink.links();
    const lacks = new Map<string, () => void>();
    const { log } = this.#deps;
    for (const name of this.#config.interfaces) {
      const link = this.#linkOf(name, links);
      if (link !== undefined && link.name !== name) {
        const fields = { interface: name, now: link.name };
        lacks.set(Object.values(fields).join("/"), () => {
          log.warn(
            fields,
            "interface was renamed: forwarding goes on, the next start will not find it",
          );
        });
      }
      if (link !== undefined) continue;
      lacks.set(`interface ${name}`, () => log.error({ interface: name }, "interface is gone"));
    }
    for (const why of vipProblems(this.#config, {
      links,
      addresses: this.#rtnetlink.addresses(),
    })) {
      lacks.set(why, () => log.error({ why }, "VIP is on this host"));
    }
    const desired = desiredState(this.#config, this.#plans, (pool, backend): Path | null => {
      const result = pathTo(backend, this.#rtnetlink.route(backend.address), links, this.#config);
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

/** What the file names, by family. */
function outerSourcesOf({ outerSources }: DirectorConfig): DirectorVariant["outerSources"] {
  const of = (family: 4 | 6): IpPrefix | null =>
    outerSources.find(({ address }) => address.family === family) ?? null;
  return { ipv4: of(4), ipv6: of(6) };
}
