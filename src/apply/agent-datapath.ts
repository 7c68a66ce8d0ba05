/**
 * The agent in the kernel: its maps, one program, the interfaces it is attached to, and the counters.
 * The maps are filled before a packet sees them, and never change after: other directors or VIPs
 * are another run.
 */
import type { MapSpec } from "../bpf/image.ts";
import { compile } from "../bpf/program.ts";
import { CounterMemory, type CounterValue } from "../datapath/counter-memory.ts";
import {
  agentEntries,
  type AgentTables,
  agentVariant,
  mapsOf,
} from "../datapath/agent/contents.ts";
import { agentMaps } from "../datapath/agent/maps.ts";
import type { AgentVariant } from "../datapath/agent/variant.ts";
import { agentProgram, agentTcProgram } from "../datapath/agent/program.ts";
import { agentReasons, type AgentReason } from "../datapath/reasons.ts";
import { KernelError } from "../kernel/errors.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { BpfMap } from "../kernel/maps.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { AgentMode } from "../model/model.ts";
import { type Attachment, type Forms, Generation, ownLinks } from "./generation.ts";

export interface AgentAttachment extends Attachment {
  /** What was left out, since the kernel refused the whole: each as the end of "without …". */
  readonly without: readonly string[];
  /** Why it refused the whole. */
  readonly refusal: string | null;
}

export class AgentDatapath {
  readonly #folder: string;
  readonly #generation: Generation;
  /** The whole program; then, should a kernel refuse that, the one that leaves VLAN tags alone. */
  readonly #programs: readonly { readonly forms: Forms; readonly without: readonly string[] }[];
  readonly #counters: CounterMemory;

  /**
   * Makes and fills the maps of a new generation below `folder`. The program looks behind so many
   * VLAN tags.
   * @throws {KernelError} and nothing stays
   */
  constructor(folder: string, tables: AgentTables, vlanTags: number, kernel: KernelProcess) {
    this.#folder = folder;
    this.#generation = Generation.create(folder, kernel);
    try {
      const maps = agentMaps(possibleCpuLimit());
      const variant = agentVariant(maps, tables, vlanTags);
      using stack = new DisposableStack();
      const made = new Map<MapSpec, BpfMap>();
      for (const spec of mapsOf(variant)) {
        made.set(spec, stack.use(this.#generation.createMap(spec)));
      }
      for (const { map, key, value } of agentEntries(maps, tables))
        made.get(map)?.update(key, value);
      const counters = made.get(maps.counters.map) as BpfMap;
      this.#counters = new CounterMemory(counters, maps.counters);
      this.#programs = [
        { forms: formsOf(variant), without: [] },
        ...(vlanTags === 0
          ? []
          : [{ forms: formsOf({ ...variant, vlanTags: 0 }), without: ["packets with VLAN tags"] }]),
      ];
    } catch (error) {
      this.#generation.discard();
      throw error;
    }
  }

  /**
   * Attaches to `link`; see `Generation.attach`. A program that the kernel refuses is tried with less in it.
   * @throws {KernelError}
   */
  async attach(link: Link, wanted: AgentMode): Promise<AgentAttachment> {
    let refusal: string | null = null;
    for (const [index, { forms, without }] of this.#programs.entries()) {
      try {
        return { ...(await this.#generation.attach(forms, link, wanted)), without, refusal };
      } catch (error) {
        const isLast = index === this.#programs.length - 1;
        if (!(error instanceof KernelError) || error.code !== "PROG_LOAD" || isLast) throw error;
        refusal = error.message;
      }
    }
    throw new RangeError(`No program was given for ${link.name}`);
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

const formsOf = (variant: AgentVariant): Forms => ({
  xdp: compile(agentProgram(variant)),
  tc: compile(agentTcProgram(variant)),
});
