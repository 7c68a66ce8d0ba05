/**
 * The agent in the kernel: its maps, one program, the interfaces it is attached to, and the counters.
 * The maps are filled before a packet sees them, and never change after: other directors or VIPs
 * are another run.
 */
import type { ProgramImage } from "../bpf/image.ts";
import { compile } from "../bpf/program.ts";
import { CounterMemory, type CounterValue } from "../datapath/counter-memory.ts";
import { addressKey, agentMaps, Present } from "../datapath/agent/maps.ts";
import { agentProgram } from "../datapath/agent/program.ts";
import { agentReasons, type AgentReason } from "../datapath/reasons.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { BpfMap } from "../kernel/maps.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { AgentConfig, XdpMode } from "../model/model.ts";
import type { IpAddress } from "../net/address.ts";
import { type Attachment, Generation, ownLinks } from "./generation.ts";

export class AgentDatapath {
  readonly #folder: string;
  readonly #generation: Generation;
  readonly #image: ProgramImage;
  readonly #counters: CounterMemory;

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
      const maps = agentMaps(possibleCpuLimit());
      using directors = this.#generation.createMap(maps.directors);
      using vips = this.#generation.createMap(maps.vips);
      fill(directors, config.directors);
      fill(vips, config.vips);
      using counters = this.#generation.createMap(maps.counters.map);
      this.#counters = new CounterMemory(counters, maps.counters);
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

  counters(): Readonly<Record<AgentReason, CounterValue>> {
    return Object.fromEntries(
      agentReasons.map(({ name }, index) => [name, this.#counters.read(index)]),
    ) as Record<AgentReason, CounterValue>;
  }

  /** Ends reading; pins and links stay. */
  close(): void {
    this.#counters.close();
  }
}

function fill(map: BpfMap, addresses: readonly IpAddress[]): void {
  for (const address of addresses) map.update(addressKey(address), Present.encode({ present: 1 }));
}
