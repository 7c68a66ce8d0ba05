/**
 * The agent in the kernel: its maps, one program, the interfaces it is attached to, and the counters.
 * The maps are filled before a packet sees them, and never change after: other directors or VIPs
 * are another run.
 */
import type { ProgramImage } from "../bpf/image.ts";
import { compile } from "../bpf/program.ts";
import { addressKey, agentMaps, Present } from "../datapath/agent/maps.ts";
import { agentProgram } from "../datapath/agent/program.ts";
import { agentReasons, type AgentReason } from "../datapath/reasons.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { BpfMap } from "../kernel/maps.ts";
import { sumPerCpu } from "../kernel/per-cpu.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { AgentConfig, XdpMode } from "../model/model.ts";
import type { IpAddress } from "../net/address.ts";
import { type Attachment, Generation, ownLinks } from "./generation.ts";

/** Sums over all CPUs since this run began; 64 bits, so `bigint`. */
export interface AgentCounter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

export class AgentDatapath {
  readonly #folder: string;
  readonly #generation: Generation;
  readonly #image: ProgramImage;
  readonly #reasons: BpfMap;

  /**
   * Makes and fills the maps of a new generation below `folder`.
   * @throws {KernelError} and nothing stays
   */
  constructor(
    folder: string,
    config: Pick<AgentConfig, "vips" | "directors">,
    kernel: KernelProcess,
  ) {
    this.#folder = folder;
    this.#generation = Generation.create(folder, kernel);
    try {
      const maps = agentMaps();
      using directors = this.#generation.createMap(maps.directors);
      using vips = this.#generation.createMap(maps.vips);
      fill(directors, config.directors);
      fill(vips, config.vips);
      this.#reasons = this.#generation.createMap(maps.reasons);
      this.#image = compile(agentProgram(maps));
    } catch (error) {
      this.#generation.discard();
      throw error;
    }
  }

  /**
   * Attaches to `link`; see `Generation.attach`.
   * @throws {KernelError}
   */
  attach(link: Link, wanted: XdpMode): Promise<Attachment> {
    return this.#generation.attach(this.#image, link, wanted);
  }

  /** Interfaces that run a program of this instance now. */
  attached(): ReadonlySet<number> {
    return ownLinks(this.#folder);
  }

  /** Takes away what runs before left, and links of interfaces not in `ifindexes`. */
  async removeOthers(ifindexes: ReadonlySet<number>): Promise<void> {
    await this.#generation.removeOthers(ifindexes);
  }

  /** Takes the pins of this run away, but no link. */
  discard(): void {
    this.#generation.discard();
  }

  counters(): Readonly<Record<AgentReason, AgentCounter>> {
    const sums = sumPerCpu(this.#reasons, 0, agentReasons.length);
    return Object.fromEntries(
      agentReasons.map(({ name }, index) => [
        name,
        { packets: sums[index * 2] ?? 0n, bytes: sums[index * 2 + 1] ?? 0n },
      ]),
    ) as Record<AgentReason, AgentCounter>;
  }

  /** Closes what this process holds; pins and links stay. */
  close(): void {
    this.#reasons.close();
  }
}

function fill(map: BpfMap, addresses: readonly IpAddress[]): void {
  for (const address of addresses) map.update(addressKey(address), Present.encode({ present: 1 }));
}
