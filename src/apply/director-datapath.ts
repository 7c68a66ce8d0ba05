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
import type { DirectorVariant } from "../datapath/director/variant.ts";
import { directorReasons, type DirectorReason } from "../datapath/reasons.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { MappedValues } from "../kernel/maps.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { XdpMode } from "../model/model.ts";
import { Arena } from "./arena.ts";
import { type Attachment, Generation } from "./generation.ts";

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
   * Attaches a program to each link, specialised to it; then what the run before left goes.
   * @throws {KernelError} with interfaces attached before the failure; `undo` takes them back
   */
  async attach(
    links: readonly Link[],
    mode: XdpMode,
    variant: Omit<DirectorVariant, "maps" | "ifindex" | "mac">,
  ): Promise<readonly Attachment[]> {
    const attachments: Attachment[] = [];
    for (const link of links) {
      const { ifindex, mac } = link;
      if (mac === null) continue;
      const program = directorProgram({ ...variant, maps: this.#maps, ifindex, mac });
      attachments.push(await this.#generation.attach(compile(program), link, mode));
    }
    await this.#generation.removeOthers(new Set(links.map(({ ifindex }) => ifindex)));
    return attachments;
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
