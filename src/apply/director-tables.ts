/**
 * Writes the director's tables into the arena. A new state is laid out beside the old one and
 * published by one store; a bucket or a neighbour's MAC changes by a store of its own. The one
 * writer of the arena.
 */
import { counterOffset } from "../datapath/counters.ts";
import { trafficCounter } from "../datapath/director/maps.ts";
import { type IndexPlan, planIndex, writeIndex } from "../datapath/director/index-plan.ts";
import {
  type ServiceKey,
  type ServiceTarget,
  VIP_PROTOCOL,
} from "../datapath/director/service-index.ts";
import type { FlowHashKey } from "../datapath/flow-hash.ts";
import {
  ArenaHeader,
  Bucket,
  ForwardingCode,
  HashWords,
  Member,
  wayOf,
} from "../datapath/layout.ts";
import type { IndexShape } from "../model/arena-size.ts";
import { OUTER_TTL } from "../datapath/director/tunnel.ts";
import { type IpAddress, sameIp } from "../net/address.ts";
import { IP_DF, IPPROTO_IPIP } from "../packet/headers.ts";
import {
  type DesiredMember,
  type DesiredPool,
  type DesiredState,
  distinctVips,
} from "../plan/desired-state.ts";
import type { TablePlan } from "../schedule/table.ts";
import type { Arena } from "./arena.ts";
import { NextHopRecords, type NextHopId, type NextHopStatus } from "./next-hop-records.ts";
import type { Mac } from "../net/mac.ts";

interface PlacedPool {
  readonly table: TablePlan;
  readonly buckets: number;
  readonly members: number;
}

/** Where the services of a state lie in an index: good for every state that has the same ones. */
interface PlannedIndex {
  readonly services: readonly ServiceKey[];
  readonly plan: IndexPlan;
}

export class DirectorTables {
  readonly #arena: Arena;
  readonly #nextHops: NextHopRecords;
  #pools = new Map<string, PlacedPool>();
  readonly #shape: IndexShape;
  readonly #hashKey: FlowHashKey;
  #planned: PlannedIndex;
  #index: number;

  /** `macOf` says what is known of a neighbour when its record is made. */
  constructor(
    arena: Arena,
    { index, hashKey }: { readonly index: IndexShape; readonly hashKey: FlowHashKey },
    macOf: (nextHop: NextHopId) => Mac | null,
  ) {
    this.#arena = arena;
    this.#shape = index;
    this.#hashKey = hashKey;
    this.#planned = { services: [], plan: planIndex([], index, hashKey) };
    this.#nextHops = new NextHopRecords(arena, macOf);
    // No services yet: without an index the program would take the empty arena for one.
    this.#index = arena.allocate(this.#planned.plan.size);
    this.#writeIndex(this.#planned.plan, () => null, this.#index);
    arena.store32(ArenaHeader.offsets.index, this.#index);
  }

  /**
   * Makes `state` what packets see, at once. `ownersOf` gives the owner of every bucket of a pool.
   * Resolves when the regions of the state before can be used again.
   * @throws {RangeError} when the arena is too small; the state before then stays
   */
  async publish(state: DesiredState, ownersOf: (pool: DesiredPool) => Uint16Array): Promise<void> {
    const obsolete: number[] = [];
    const fresh: number[] = [];
    const allocate = (size: number): number => {
      const offset = this.#arena.allocate(size);
      fresh.push(offset);
      return offset;
    };
    const pools = new Map<string, PlacedPool>();
    const planned = sameKeys(this.#planned.services, state.services)
      ? this.#planned
      : {
          services: state.services,
          plan: planIndex(keysOf(state.services), this.#shape, this.#hashKey),
        };
    try {
      // First the index, the largest piece: it always fits where the one before the last was.
      const index = allocate(planned.plan.size);
      for (const pool of state.pools) {
        const before = this.#pools.get(pool.name);
        const members = this.#writeMembers(pool, allocate);
        // The same table keeps its buckets: they are up to date, store by store.
        const buckets =
          before !== undefined && before.table === pool.table
            ? before.buckets
            : this.#writeBuckets(ownersOf(pool), allocate);
        pools.set(pool.name, { table: pool.table, buckets, members });
      }
      this.#writeIndex(planned.plan, targetsOf(state, pools), index);
      this.#arena.store32(ArenaHeader.offsets.index, index);
      obsolete.push(this.#index);
      this.#index = index;
      this.#planned = planned;
    } catch (error) {
      await this.#arena.release(fresh);
      throw error;
    }
    for (const [name, { buckets, members }] of this.#pools) {
      obsolete.push(members);
      if (pools.get(name)?.buckets !== buckets) obsolete.push(buckets);
    }
    this.#pools = pools;
    const paths = state.pools.flatMap((pool) => pool.members.map(({ path }) => path));
    await this.#arena.release([...obsolete, ...this.#nextHops.retain(paths)]);
  }

  /** Gives buckets of a pool to their owners of now, a store each. */
  setOwners(pool: string, buckets: Uint32Array, owners: Uint16Array): void {
    const placed = this.#pools.get(pool);
    if (placed === undefined) throw new Error(`Pool "${pool}" is not in the tables`);
    for (const bucket of buckets) {
      this.#arena.store32(placed.buckets + bucket * Bucket.size, owners[bucket] ?? 0);
    }
  }

  /** Sets or, with `null`, forgets a neighbour's MAC. Returns whether that changed anything. */
  resolve(nextHop: NextHopId, mac: Mac | null): boolean {
    return this.#nextHops.resolve(nextHop, mac);
  }

  nextHops(): readonly NextHopStatus[] {
    return this.#nextHops.status();
  }

  #writeIndex(
    plan: IndexPlan,
    targetOf: (key: number) => ServiceTarget | null,
    offset: number,
  ): void {
    writeIndex(plan, targetOf, this.#arena.region(offset, plan.size));
  }

  #writeBuckets(owners: Uint16Array, allocate: (size: number) => number): number {
    const offset = allocate(owners.length * Bucket.size);
    const region = this.#arena.region(offset, owners.length * Bucket.size);
    // Owner in the low half, chain 0 (settled) in the high one.
    new Uint32Array(region.buffer, region.byteOffset, owners.length).set(owners);
    return offset;
  }

  #writeMembers(pool: DesiredPool, allocate: (size: number) => number): number {
    const offset = allocate(pool.members.length * Member.size);
    const region = this.#arena.region(offset, pool.members.length * Member.size);
    pool.members.forEach((member, index) => {
      const nextHop = this.#nextHops.offsetFor(member.path);
      const counter = counterOffset(trafficCounter(pool.memberCounters + index));
      const record = { ...memberRecord(member), nextHop, counter };
      Member.write(region, record, index * Member.size);
    });
    return offset;
  }
}

const FIVE_TUPLE =
  HashWords.sourcePort | HashWords.vip | HashWords.servicePort | HashWords.protocol;

function memberRecord(member: DesiredMember): Parameters<typeof Member.encode>[0] {
  const { forwarding, address, path } = member;
  const way = wayOf(forwarding, path?.ifindex ?? 0);
  const common = { way, mtu: Math.min(path?.mtu ?? 0, 0xffff) };
  if (path === null || forwarding === ForwardingCode.l2) return common;
  return {
    ...common,
    outerSum: address.family === 4 ? outerSum(path.source, address) : 0,
    source: padded(path.source),
    destination: padded(address),
  };
}

/** Ones' complement sum of what is constant in an outer IPv4 header, as little-endian 16-bit words. */
function outerSum(source: IpAddress, destination: IpAddress): number {
  const words = [source, destination].flatMap(({ bytes }) => [
    (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8),
    (bytes[2] ?? 0) | ((bytes[3] ?? 0) << 8),
  ]);
  const fixed = [0x45, swap16(IP_DF), OUTER_TTL | (IPPROTO_IPIP << 8)];
  return [...fixed, ...words].reduce((sum, word) => sum + word, 0);
}

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

function padded({ bytes }: IpAddress): Uint8Array {
  const out = new Uint8Array(16);
  out.set(bytes);
  return out;
}

/** A key for every service address, in their order, then one for each VIP alone. */
function keysOf(services: readonly ServiceKey[]): readonly ServiceKey[] {
  const vips = distinctVips(services);
  return [...services, ...vips.map((vip) => ({ vip, port: 0, protocol: VIP_PROTOCOL }))];
}

function sameKeys(before: readonly ServiceKey[], now: readonly ServiceKey[]): boolean {
  return (
    before.length === now.length &&
    before.every(({ vip, port, protocol }, index) => {
      const other = now[index];
      return (
        other !== undefined &&
        port === other.port &&
        protocol === other.protocol &&
        (vip === other.vip || sameIp(vip, other.vip))
      );
    })
  );
}

/** What the slot of each key says: of a service its pool, of a VIP alone nothing. */
function targetsOf(
  { services, pools }: DesiredState,
  placed: ReadonlyMap<string, PlacedPool>,
): (key: number) => ServiceTarget | null {
  const ofPools = pools.map(({ name }) => {
    const at = placed.get(name);
    if (at === undefined) throw new Error(`Pool "${name}" is not in the tables`);
    return {
      buckets: at.buckets,
      bucketMask: (at.table.size - 1) * Bucket.size,
      members: at.members,
    };
  });
  // The addresses of a service share what their slots say.
  const ofServices: ServiceTarget[] = [];
  return (key) => {
    const service = services[key];
    if (service === undefined) return null;
    const pool = ofPools[service.pool];
    if (pool === undefined) {
      throw new Error(`Service "${service.name}" has no pool in the tables`);
    }
    return (ofServices[service.counter] ??= {
      ...pool,
      counter: counterOffset(trafficCounter(service.counter)),
      hashWords: FIVE_TUPLE,
      wide: 0,
      codePoints: 0,
    });
  };
}
