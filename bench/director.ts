/** The director's program in the kernel, its tables filled: what is measured. No device is needed. */
import { join } from "node:path";
import { Arena } from "../src/apply/arena.ts";
import type { NextHopId } from "../src/apply/next-hop-records.ts";
import { DirectorTables } from "../src/apply/director-tables.ts";
import { compile } from "../src/bpf/program.ts";
import type { MapSpec, ProgramImage } from "../src/bpf/image.ts";
import { CounterMemory } from "../src/datapath/counter-memory.ts";
import { directorMaps, trafficCounter } from "../src/datapath/director/maps.ts";
import { directorProgram } from "../src/datapath/director/program.ts";
import type { DirectorVariant, Features } from "../src/datapath/director/variant.ts";
import { ArenaHeader, ServiceSlot } from "../src/datapath/layout.ts";
import { directorReasonIndex, type DirectorReason } from "../src/datapath/reasons.ts";
import { type BpfMap, createMap, type MappedValues } from "../src/kernel/maps.ts";
import { possibleCpuLimit } from "../src/kernel/possible-cpus.ts";
import { makePinDirectory, replacePin } from "../src/kernel/pins.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { indexLayout } from "../src/model/arena-size.ts";
import { defaultTunnels } from "../src/model/model.ts";
import { type Mac, mac } from "../src/net/mac.ts";
import {
  arenaBytesFor,
  type DesiredPool,
  type DesiredState,
  featuresOf,
  indexShapeFor,
} from "../src/plan/desired-state.ts";
import { Placed } from "./placed.ts";
import { DIRECTOR_MAC } from "./traffic.ts";
import { HASH_KEY, IFINDEX, macOf } from "./world.ts";

/** Dispose of it to close what it holds. */
export class BenchDirector {
  readonly variant: DirectorVariant;
  readonly image: ProgramImage;
  readonly program: Placed;
  readonly #maps: ReadonlyMap<MapSpec, BpfMap>;
  readonly #memory: MappedValues;
  readonly #counters: CounterMemory;
  readonly #state: DesiredState;

  private constructor(state: DesiredState, options: DirectorOptions) {
    this.#state = state;
    const maps = directorMaps({
      arenaBytes: arenaBytesFor(state),
      index: indexShapeFor(state),
      counters: Math.max(
        0,
        ...state.pools.map(({ memberCounters, members }) => memberCounters + members.length),
      ),
      cpus: possibleCpuLimit(),
    });
    this.variant = {
      maps,
      hashKey: HASH_KEY,
      ifindex: IFINDEX,
      mac: mac(DIRECTOR_MAC),
      addresses: { ipv4: null, ipv6: null },
      tunnels: defaultTunnels,
      outerSources: { ipv4: null, ipv6: null },
      vlanTags: 0,
      ...options.variant,
      features: { ...featuresOf(state), ...options.features },
    };
    const specs = [maps.arena.map, maps.counters.map, maps.limits];
    this.#maps = new Map(specs.map((spec) => [spec, createMap(spec)]));
    this.#counters = new CounterMemory(this.map(maps.counters.map), maps.counters);
    this.image = compile(directorProgram(this.variant));
    this.program = new Placed(() => loadProgram(this.image, (spec) => this.map(spec).fd));
    this.#memory = this.map(maps.arena.map).mmap();
  }

  /** Loads the program for `state` and fills its tables. @throws {KernelError} */
  static async open(state: DesiredState, options: DirectorOptions = {}): Promise<BenchDirector> {
    const director = new BenchDirector(state, options);
    // No packet is under way while the tables are filled.
    const { maps, outerSources } = director.variant;
    const { arena: declared, index } = maps;
    const bytes = director.#memory.bytes.subarray(0, declared.size);
    const arena = new Arena(bytes, async () => {});
    const { neighbours = macOf, owners = ({ table }) => table.base } = options;
    const tables = new DirectorTables(
      arena,
      { index, hashKey: HASH_KEY, outerSources },
      neighbours,
    );
    await tables.publish(state, owners);
    return director;
  }

  map(spec: MapSpec): BpfMap {
    const map = this.#maps.get(spec);
    if (map === undefined) throw new Error(`The director has no map "${spec.name}"`);
    return map;
  }

  mapNames(): readonly string[] {
    return [...this.#maps.keys()].map(({ name }) => name);
  }

  /** Packets that ended in `reason` so far. */
  packets(reason: DirectorReason): bigint {
    if (reason !== "forwarded") return this.#counters.read(directorReasonIndex(reason)).packets;
    // Counted for their services, which come before the members.
    const services = this.#state.pools[0]?.memberCounters ?? 0;
    return this.#counters
      .readMany(trafficCounter(0), services)
      .reduce((sum, { packets }) => sum + packets, 0n);
  }

  /** The slot of the service index whose `key0` this is, as bytes. IPv4 only. */
  slotOf(key0: bigint): Uint8Array {
    const { bytes } = this.#memory;
    const { slots, slotsAt } = indexLayout(this.variant.maps.index).ipv4;
    const start = ArenaHeader.read(bytes).index + slotsAt;
    for (let slot = 0; slot < slots; slot += 1) {
      const at = start + slot * ServiceSlot.size;
      if (ServiceSlot.read(bytes, at).key0 === key0) return bytes.slice(at, at + ServiceSlot.size);
    }
    throw new Error(`No service has the key ${key0.toString(16)}`);
  }

  /** Pins the program and its maps in `folder` by their names. @throws {KernelError} NO_BPFFS, PIN */
  keep(folder: string): void {
    makePinDirectory(folder);
    replacePin(this.program.fd, join(folder, this.program.name));
    for (const [{ name }, { fd }] of this.#maps) replacePin(fd, join(folder, name));
  }

  [Symbol.dispose](): void {
    this.program.close();
    this.#counters.close();
    this.#memory.unmap();
    for (const map of this.#maps.values()) map.close();
  }
}

export interface DirectorOptions {
  /** Features beyond those the state needs. */
  readonly features?: Partial<Features>;
  /** What else the program is specialised to; nothing special unless given. */
  readonly variant?: Partial<
    Pick<DirectorVariant, "addresses" | "tunnels" | "outerSources" | "vlanTags">
  >;
  /** The MACs of neighbours; all are known unless given. */
  readonly neighbours?: (id: NextHopId) => Mac | null;
  /** Who owns a pool's buckets; as planned unless given. */
  readonly owners?: (pool: DesiredPool) => Uint16Array;
}
