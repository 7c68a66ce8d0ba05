/**
 * The director in the kernel: its maps, its arena, a program on each interface, and the counters.
 * Filled before it is attached; programs of the run before keep forwarding until then.
 */
import { compile } from "../bpf/program.ts";
import { CounterMemory, type CounterValue } from "../datapath/counter-memory.ts";
import {
  defaultLimits,
  type DirectorMaps,
  directorMaps,
  type DirectorSizes,
  trafficCounter,
} from "../datapath/director/maps.ts";
import { Limits } from "../datapath/layout.ts";
import { directorProgram } from "../datapath/director/program.ts";
import { type Reduction, reductionsOf } from "../datapath/director/reductions.ts";
import type { DirectorVariant } from "../datapath/director/variant.ts";
import { directorReasons, type DirectorReason } from "../datapath/reasons.ts";
import { KernelError } from "../kernel/errors.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { MappedValues } from "../kernel/maps.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { XdpMode } from "../model/model.ts";
import { Arena } from "./arena.ts";
import { type Attachment, Generation } from "./generation.ts";

export interface DirectorAttachment extends Attachment {
  /** VLAN tags that its program looks behind. */
  readonly vlanTags: number;
  /** What was left out, since the kernel refused the whole; see `reductionsOf`. */
  readonly without: readonly string[];
  /** Why it refused the whole. */
  readonly refusal: string | null;
}

/** What programs are specialised to, beside maps and interface. */
export interface AttachOptions
  extends Omit<DirectorVariant, "maps" | "ifindex" | "mac" | "addresses"> {
  readonly addressesOf: (link: Link) => DirectorVariant["addresses"];
  /** Whether frames leave with VLAN tags. */
  readonly needsTags: boolean;
}

export class DirectorDatapath {
  readonly arena: Arena;
  readonly #generation: Generation;
  readonly #maps: DirectorMaps;
  readonly #counters: CounterMemory;
  readonly #arenaMemory: MappedValues;

  /** @throws {KernelError} */
  constructor(folder: string, sizes: Omit<DirectorSizes, "cpus">, kernel: KernelProcess) {
    this.#generation = Generation.create(folder, kernel);
    try {
      this.#maps = directorMaps({ ...sizes, cpus: possibleCpuLimit() });
      using arena = this.#generation.createMap(this.#maps.arena.map);
      this.#arenaMemory = arena.mmap();
      using limits = this.#generation.createMap(this.#maps.limits);
      const limitsMemory = limits.mmap();
      Limits.write(limitsMemory.bytes, defaultLimits);
      limitsMemory.unmap();
      using counters = this.#generation.createMap(this.#maps.counters.map);
      this.#counters = new CounterMemory(counters, this.#maps.counters);
      const bytes = this.#arenaMemory.bytes.subarray(0, this.#maps.arena.size);
      this.arena = new Arena(bytes, () => kernel.gracePeriod());
    } catch (error) {
      this.#generation.discard();
      throw error;
    }
  }

  /**
   * Attaches a program to each link, specialised to it; then what the run before left goes. One that
   * the kernel refuses is tried again with less in it.
   * @throws {KernelError} with interfaces attached before the failure; `undo` takes them back
   */
  async attach(
    links: readonly Link[],
    mode: XdpMode,
    { needsTags, ...given }: AttachOptions,
  ): Promise<readonly DirectorAttachment[]> {
    const attachments: DirectorAttachment[] = [];
    for (const link of links) {
      const { ifindex, mac } = link;
      if (mac === null) continue;
      const addresses = given.addressesOf(link);
      const whole: DirectorVariant = { ...given, addresses, maps: this.#maps, ifindex, mac };
      attachments.push(await this.#attachReduced(link, mode, reductionsOf(whole, needsTags)));
    }
    await this.#generation.removeOthers(new Set(links.map(({ ifindex }) => ifindex)));
    return attachments;
  }

  async #attachReduced(
    link: Link,
    mode: XdpMode,
    reductions: readonly Reduction[],
  ): Promise<DirectorAttachment> {
    let refusal: string | null = null;
    for (const [index, { variant, without }] of reductions.entries()) {
      try {
        const image = compile(directorProgram(variant));
        const attachment = await this.#generation.attach({ xdp: image }, link, mode);
        return { ...attachment, vlanTags: variant.vlanTags, without, refusal };
      } catch (error) {
        const isLast = index === reductions.length - 1;
        if (!(error instanceof KernelError) || error.code !== "PROG_LOAD" || isLast) throw error;
        refusal ??= error.message;
      }
    }
    throw new RangeError(`No program was given for ${link.name}`);
  }

  /** Makes interfaces and pins as they were before this run, for a start that failed; see `Generation.undo`. */
  async undo(): Promise<void> {
    await this.#generation.undo();
  }

  /** What the program counts by itself: every reason but `forwarded`, the sum of the services. */
  reasons(): Readonly<Record<DirectorReason, CounterValue>> {
    const counters = this.#counters.readMany(0, directorReasons.length);
    return Object.fromEntries(
      directorReasons.map(({ name }, index) => [name, counters[index]]),
    ) as Record<DirectorReason, CounterValue>;
  }

  /** `count` counters from `first` on, numbered as the desired state numbers them. */
  traffic(first: number, count: number): readonly CounterValue[] {
    return this.#counters.readMany(trafficCounter(first), count);
  }

  /** Closes what this process holds; pins and links stay. */
  close(): void {
    this.#counters.close();
    this.#arenaMemory.unmap();
  }
}
