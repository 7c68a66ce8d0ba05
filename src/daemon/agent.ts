/**
 * The agent: assembles what the other modules provide, in this order.
 *
 *     facts of the host → problems (all at once, nothing touched yet)
 *     API  →  maps, filled  →  sysctls  →  VIPs on lo  →  programs attached
 *
 * `stop` undoes it backwards. While it runs it keeps the host as configured: a VIP that somebody took
 * from `lo` comes back, and an interface that was deleted and made anew gets its sysctls and program
 * again, each with a warning. It looks at most once a second, so that two who disagree about an
 * address do not fill a processor.
 */
import { type AgentStatus, agentApi } from "../api/agent.ts";
import type { ApiSocket } from "../api/serve.ts";
import { trafficOf } from "../api/traffic.ts";
import { type AgentAttachment, AgentDatapath } from "../apply/agent-datapath.ts";
import type { Attachment } from "../apply/generation.ts";
import { applyAgentHost, type HostStep, restoreAgentHost } from "../apply/agent-host.ts";
import { ownLinks } from "../apply/generation.ts";
import { removePins } from "../apply/remove-pins.ts";
import { KernelProcess } from "../kernel/kernel-process.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { type RtnetlinkEvent, RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import type { AgentConfig } from "../model/model.ts";
import { formatPrefix } from "../net/prefix.ts";
import { vlanTagsFor } from "../plan/vlan.ts";
import { refuseAgent } from "./agent-start.ts";
import { agentStateFile, pinFolder } from "./instance.ts";
import type { Logger } from "./log.ts";
import { claim } from "./running.ts";

export interface AgentDeps {
  readonly log: Logger;
}

const LOOK_AGAIN_AFTER_MS = 1000;
/** The kernel tells nobody of a sysctl that was changed, and a look that failed is made up for. */
const LOOK_ANYWAY_EVERY_MS = 2000;

export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Logger;
  readonly #folder: string;
  readonly #stateFile: string;
  readonly #rtnetlink: Rtnetlink;
  readonly #kernel: KernelProcess;
  readonly #api: ApiSocket;
  /** By interface name. */
  readonly #attachments = new Map<string, AgentAttachment>();
  readonly #missing = new Set<string>();
  #datapath: AgentDatapath | null = null;
  #events: RtnetlinkEvents | null = null;
  #look: NodeJS.Timeout | null = null;
  #lookAnyway: NodeJS.Timeout | null = null;
  /** Why the last look failed, said once. */
  #fault: string | null = null;
  #looking: Promise<void> = Promise.resolve();

  /**
   * Starts an agent and returns when it serves.
   * @throws {StartError} with every problem found; nothing was changed
   * @throws {KernelError} when the kernel refuses; the host is as it was, or as the run before left it
   */
  static async start(config: AgentConfig, deps: AgentDeps): Promise<Agent> {
    await refuseAgent(config);
    const api = await claim(config.instance, "agent");
    let agent: Agent;
    try {
      agent = new Agent(config, deps, Rtnetlink.open(), await KernelProcess.start(), api);
    } catch (error) {
      await api.close();
      throw error;
    }
    const tookOver = ownLinks(agent.#folder).size > 0;
    try {
      await agent.#run();
      return agent;
    } catch (error) {
      await agent.#quiet();
      if (tookOver) agent.#leave();
      else agent.#undo();
      await agent.#close();
      throw error;
    }
  }

  private constructor(
    config: AgentConfig,
    { log }: AgentDeps,
    rtnetlink: Rtnetlink,
    kernel: KernelProcess,
    api: ApiSocket,
  ) {
    this.#config = config;
    this.#api = api;
    this.#log = log;
    this.#folder = pinFolder(config.instance, "agent");
    this.#stateFile = agentStateFile(config.instance);
    this.#rtnetlink = rtnetlink;
    this.#kernel = kernel;
  }

  status(): AgentStatus {
    const { instance, vips, directors } = this.#config;
    const reasons = Object.entries(this.#datapath?.counters() ?? {});
    return {
      instance,
      pid: process.pid,
      interfaces: [...this.#attachments.values()].map((attachment) => ({
        name: attachment.interface,
        mode: attachment.mode,
        fallback: this.#fallbackOf(attachment),
        without: attachment.without,
      })),
      vips: vips.map(formatPrefix),
      directors: directors.map(formatPrefix),
      reasons: Object.fromEntries(reasons.map(([name, counter]) => [name, trafficOf(counter)])),
    };
  }

  /**
   * Ends the agent and puts the host back as it was before the first start.
   * @throws {Error} when something could not be put back; the rest is
   */
  async stop(): Promise<void> {
    await this.#quiet();
    const failures = this.#undo();
    if (failures.length === 0) {
      this.#log.info({ instance: this.#config.instance }, "agent stopped, host restored");
    }
    await this.#close();
    if (failures.length > 0) {
      throw new Error(
        `Cannot restore the host: ${failures.join("; ")}; mend that, then run "carom teardown --instance ${this.#config.instance}"`,
      );
    }
  }

  /** Ends the agent; program, VIPs and sysctls stay, for the next run to take over. */
  async keep(): Promise<void> {
    await this.#quiet();
    this.#log.info(
      {
        instance: this.#config.instance,
        undo: `carom teardown --instance ${this.#config.instance}`,
      },
      "agent stopped, still serving: programs, VIPs and sysctls stay",
    );
    await this.#close();
  }

  async #run(): Promise<void> {
    const config = this.#config;
    this.#api.use(agentApi(() => this.status()));
    const vlanTags = vlanTagsFor(config.vlanTags, config.interfaces, this.#rtnetlink.links());
    this.#datapath = new AgentDatapath(this.#folder, config, vlanTags, this.#kernel);
    this.#events = RtnetlinkEvents.open((event) => this.#onEvent(event));
    this.#report(this.#applyHost(), "info");
    await this.#attach(this.#datapath);
    this.#lookAnyway = setInterval(() => this.#lookSoon(), LOOK_ANYWAY_EVERY_MS);
    this.#log.info({ instance: config.instance, pid: process.pid }, "agent serving");
  }

  #applyHost(): HostStep[] {
    const { interfaces, vips } = this.#config;
    return applyAgentHost({ stateFile: this.#stateFile, interfaces, vips }, this.#rtnetlink);
  }

  /** Attaches to the configured interfaces that are there and have no program of this run. */
  async #attach(datapath: AgentDatapath): Promise<void> {
    const { interfaces, mode: wanted } = this.#config;
    for (const name of interfaces) {
      const link = this.#rtnetlink.link(name);
      if (link === undefined) {
        this.#attachments.delete(name);
        if (!this.#missing.has(name)) {
          const what = "make it again and the agent attaches to it, or change the configuration";
          this.#log.error(
            { interface: name, do: what },
            "interface is gone, packets do not arrive",
          );
        }
        this.#missing.add(name);
        continue;
      }
      this.#missing.delete(name);
      const known = this.#attachments.get(name)?.ifindex === link.ifindex;
      if (known && datapath.attached().has(link.ifindex)) continue;
      const attachment = await datapath.attach(link, wanted);
      this.#attachments.set(name, attachment);
      const { mode, takenOver, verifiedInstructions } = attachment;
      this.#log.info({ interface: name, mode, takenOver, verifiedInstructions }, "attached");
      const { without, refusal } = attachment;
      if (without.length > 0) {
        const fields = { interface: name, without, why: refusal };
        this.#log.error(fields, "the kernel refuses the whole program");
      }
      const why = this.#fallbackOf(attachment);
      if (why !== null) {
        const what = mode === "tc" ? "TC instead of native XDP, slower" : "generic XDP, slower";
        this.#log.warn({ interface: name, why }, what);
      }
    }
    await datapath.removeOthers(
      new Set([...this.#attachments.values()].map(({ ifindex }) => ifindex)),
    );
  }

  #fallbackOf({ mode, fallback }: Attachment): string | null {
    if (this.#config.mode !== "auto" || mode === "native") return null;
    return fallback ?? "taken over as it was; stop the agent and start it to try again";
  }

  #onEvent(event: RtnetlinkEvent): void {
    switch (event.kind) {
      case "lost":
      case "link":
        return this.#lookSoon();
      case "address":
        if (event.change === "delete") this.#lookSoon();
        return;
      case "route":
      case "rule":
      case "neighbour":
        return;
    }
  }

  #lookSoon(): void {
    this.#look ??= setTimeout(() => {
      this.#look = null;
      this.#looking = this.#looking.then(() => this.#lookAgain());
    }, LOOK_AGAIN_AFTER_MS);
  }

  async #lookAgain(): Promise<void> {
    if (this.#datapath === null) return;
    try {
      this.#report(this.#applyHost(), "warn");
      await this.#attach(this.#datapath);
      this.#fault = null;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#fault) {
        this.#log.error({ error: message }, "cannot keep this host as configured");
      }
      this.#fault = message;
    }
  }

  /** `level`: whether a change was to be expected, or somebody undid what was there. */
  #report(steps: readonly HostStep[], level: "info" | "warn"): void {
    for (const { kind, text } of steps) {
      this.#log[kind === "left alone" ? "warn" : level]({ what: text }, kind);
    }
  }

  /** No more changes from here on but those of the caller. */
  async #quiet(): Promise<void> {
    this.#events?.close();
    this.#events = null;
    if (this.#lookAnyway !== null) clearInterval(this.#lookAnyway);
    if (this.#look !== null) clearTimeout(this.#look);
    await this.#looking;
  }

  /** Programs first, then VIPs, then sysctls, each whatever became of the others. Returns what failed. */
  #undo(): readonly string[] {
    const failures: string[] = [];
    const attempt = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        const { message } = error as Error;
        this.#log.error({ error: message }, "cannot restore the host");
        failures.push(message);
      }
    };
    attempt(() => {
      for (const what of removePins(this.#folder)) this.#log.info({ what }, "undone");
    });
    attempt(() => this.#report(restoreAgentHost(this.#stateFile, this.#rtnetlink), "info"));
    return failures;
  }

  /** For a start that failed while the program of the run before still serves: it goes on. */
  #leave(): void {
    if (this.#attachments.size === 0) this.#datapath?.discard();
    this.#log.warn({}, "start failed, the run before goes on serving");
  }

  async #close(): Promise<void> {
    await this.#api.close();
    this.#datapath?.close();
    this.#rtnetlink.close();
    await this.#kernel.close();
  }
}
