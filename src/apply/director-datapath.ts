/**
 * The director in the kernel: its maps, its arena, a program on each interface, and the counters.
 * Filled before it is attached; programs of the run before keep forwarding until then.
 */
import { compile } from "../bpf/program.ts";
import { type DirectorMaps, directorMaps } from "../datapath/director/maps.ts";
import { directorProgram } from "../datapath/director/program.ts";
import type { DirectorVariant } from "../datapath/director/variant.ts";
import { directorReasons, type DirectorReason } from "../datapath/reasons.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { BpfMap } from "../kernel/maps.ts";
import { sumPerCpu } from "../kernel/per-cpu.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { XdpMode } from "../model/model.ts";
import { Arena } from "./arena.ts";
import { type Attachment, Generation } from "./generation.ts";

/** Sums over all CPUs since the start; 64 bits, so `bigint`. */
export interface CounterValue {
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface DatapathSizes {
  readonly arenaBytes: number;
  readonly services: number;
  readonly members: number;
}

export class DirectorDatapath {
  readonly arena: Arena;
  readonly #generation: Generation;
  readonly #maps: DirectorMaps;
  readonly #reasons: BpfMap;
  readonly #services: BpfMap;
  readonly #members: BpfMap;

  /** @throws {KernelError} */
  constructor(folder: string, sizes: DatapathSizes, kernel: KernelProcess) {
    this.#generation = Generation.create(folder, kernel);
    try {
      this.#maps = directorMaps(sizes);
      const arena = this.#generation.createMap(this.#maps.arena);
      this.#reasons = this.#generation.createMap(this.#maps.reasons);
      this.#services = this.#generation.createMap(this.#maps.services);
      this.#members = this.#generation.createMap(this.#maps.members);
      this.arena = new Arena(arena.mmap().bytes, () => kernel.gracePeriod());
    } catch (error) {
      this.#generation.discard();
      throw error;
    }
  }

  /**
   * Attaches a program to each link, specialised to it; then what the run before left goes.
   * @throws {KernelError} and nothing of this run stays, except on interfaces attached before the failure
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

  /** Takes this run's pins away, for a start that failed. */
  discard(): void {
    this.#generation.discard();
  }

  reasons(): Readonly<Record<DirectorReason, CounterValue>> {
    const counters = readCounters(this.#reasons);
    return Object.fromEntries(
      directorReasons.map(({ name }, index) => [name, counters[index]]),
    ) as Record<DirectorReason, CounterValue>;
  }

  /** By service, in the order of the configuration. */
  services(): readonly CounterValue[] {
    return readCounters(this.#services);
  }

  /** By member: `DesiredPool.memberCounters` plus the member's index. */
  members(): readonly CounterValue[] {
    return readCounters(this.#members);
  }
}

function readCounters(map: BpfMap): readonly CounterValue[] {
  const count = map.spec.maxEntries;
  const sums = sumPerCpu(map, 0, count);
  return Array.from({ length: count }, (_, index) => ({
    packets: sums[index * 2] ?? 0n,
    bytes: sums[index * 2 + 1] ?? 0n,
  }));
}
