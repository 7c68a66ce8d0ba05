/**
 * Writes the director's tables into the arena. A new state is laid out beside the old one and
 * published by one store; a bucket or a neighbour's MAC changes by a store of its own. The one
 * writer of the arena.
 */
import { counterOffset } from "../datapath/counters.ts";
import { trafficCounter } from "../datapath/director/maps.ts";
import { writeIndex } from "../datapath/director/index-plan.ts";
import type { ServiceTarget } from "../datapath/director/service-index.ts";
import { placed, writeWide } from "../datapath/director/wide-plan.ts";
import type { FlowHashKey } from "../datapath/flow-hash.ts";
import {
  ArenaHeader,
  Bucket,
  ForwardingCode,
  Member,
  ServiceSlot,
  wayOf,
} from "../datapath/layout.ts";
import type { IndexShape } from "../model/arena-size.ts";
import { OUTER_TTL } from "../datapath/director/tunnel.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import type { IpPrefix } from "../net/prefix.ts";
import { IP_DF, IPPROTO_IPIP } from "../packet/headers.ts";
import {
  type DesiredMember,
  type DesiredPool,
  type DesiredService,
  type DesiredState,
} from "../plan/desired-state.ts";
import type { TablePlan } from "../schedule/table.ts";
import type { Arena } from "./arena.ts";
import { NextHopRecords, type NextHopId, type NextHopStatus } from "./next-hop-records.ts";
import { hashWordsOf, isLaidOut, layOutServices, type ServiceLayout } from "./service-layout.ts";
import type { Mac } from "../net/mac.ts";

interface PlacedPool {
  readonly table: TablePlan;
  readonly buckets: number;
  readonly members: number;
}

/** What a program is specialised to, and its tables must fit. */
export interface TablesVariant {
  readonly index: IndexShape;
  readonly hashKey: FlowHashKey;
  readonly outerSources: { readonly ipv4: IpPrefix | null; readonly ipv6: IpPrefix | null };
}

export class DirectorTables {
  readonly #arena: Arena;
  readonly #nextHops: NextHopRecords;
  #pools = new Map<string, PlacedPool>();
  readonly #variant: TablesVariant;
  #layout: ServiceLayout;
  #index: number;
  /** Regions that the index leads to, besides those of pools. */
  #searched: readonly number[] = [];

  /** `macOf` says what is known of a neighbour when its record is made. */
  constructor(arena: Arena, variant: TablesVariant, macOf: (nextHop: NextHopId) => Mac | null) {
    this.#arena = arena;
    this.#variant = variant;
    this.#layout = layOutServices([], variant.index, variant.hashKey);
    this.#nextHops = new NextHopRecords(arena, macOf);
    // No services yet: without an index the program would take the empty arena for one.
    const { index } = this.#layout;
    this.#index = arena.allocate(index.size);
    writeIndex(index, () => null, arena.region(this.#index, index.size));
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
    const layout = isLaidOut(this.#layout, state.services)
      ? this.#layout
      : layOutServices(state.services, this.#variant.index, this.#variant.hashKey);
    const searched: number[] = [];
    try {
      // First the index, the largest piece: it always fits where the one before the last was.
      const index = allocate(layout.index.size);
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
      const targetOf = this.#targetsOf(state, pools, (size) => {
        const offset = allocate(size);
        searched.push(offset);
        return offset;
      });
      const wide = layout.wide.size === 0 ? 0 : allocate(layout.wide.size);
      if (wide > 0) {
        searched.push(wide);
        this.#writeWide(layout, targetOf, wide);
      }
      const keyTarget = (key: number): ServiceTarget | null => {
        const keyed = layout.keyed[key] ?? null;
        if (keyed === null) return null;
        return "service" in keyed
          ? targetOf(keyed.service)
          : { ...NO_TARGET, wide: placed(keyed.branch, wide) };
      };
      writeIndex(layout.index, keyTarget, this.#arena.region(index, layout.index.size));
      this.#arena.store32(ArenaHeader.offsets.index, index);
      obsolete.push(this.#index, ...this.#searched);
      this.#index = index;
      this.#searched = searched;
      this.#layout = layout;
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

  /** Writes slots and branches of the search where they lie. */
  #writeWide(
    { wide, wideSlots }: ServiceLayout,
    targetOf: (service: DesiredService) => ServiceTarget,
    offset: number,
  ): void {
    const region = this.#arena.region(offset, wide.size);
    writeWide(wide, offset, region);
    // Nothing of a packet that is found this way is known beforehand but the hash key's own start.
    const hashSum = this.#variant.hashKey[0] ?? 0n;
    wideSlots.forEach((service, slot) => {
      ServiceSlot.write(region, { ...targetOf(service), hashSum }, wide.slotAt(slot));
    });
  }

  /** What the slot of a service says. */
  #targetsOf(
    { pools, codePoints }: DesiredState,
    placedPools: ReadonlyMap<string, PlacedPool>,
    allocate: (size: number) => number,
  ): (service: DesiredService) => ServiceTarget {
    const ofPools = pools.map(({ name }) => {
      const at = placedPools.get(name);
      if (at === undefined) throw new Error(`Pool "${name}" is not in the tables`);
      return {
        buckets: at.buckets,
        bucketMask: (at.table.size - 1) * Bucket.size,
        members: at.members,
      };
    });
    const codes = new Map<string, number>();
    const codesFor = (pool: DesiredPool, vip: IpPrefix): number => {
      if (!pool.members.some(({ forwarding }) => forwarding === ForwardingCode.dscp)) return 0;
      const key = `${pool.name} ${formatIp(vip.address)}`;
      let at = codes.get(key);
      if (at === undefined) {
        at = allocate(pool.members.length);
        const region = this.#arena.region(at, pool.members.length);
        pool.members.forEach(({ forwarding, address }, index) => {
          if (forwarding !== ForwardingCode.dscp) return;
          const known = codePoints.get(formatIp(address)) ?? [];
          region[index] = known.findIndex((each) => formatIp(each) === formatIp(vip.address)) + 1;
        });
        codes.set(key, at);
      }
      return at;
    };
    return (service) => {
      const pool = pools[service.pool];
      const target = ofPools[service.pool];
      if (pool === undefined || target === undefined) {
        throw new Error(`Service "${service.name}" has no pool in the tables`);
      }
      return {
        ...target,
        counter: counterOffset(trafficCounter(service.counter)),
        hashWords: hashWordsOf[service.hashKey],
        wide: 0,
        codePoints: codesFor(pool, service.vip),
      };
    };
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
      const record = { ...memberRecord(member, this.#variant), nextHop, counter };
      Member.write(region, record, index * Member.size);
    });
    return offset;
  }
}

function memberRecord(
  member: DesiredMember,
  { outerSources }: Pick<TablesVariant, "outerSources">,
): Parameters<typeof Member.encode>[0] {
  const { forwarding, address, path } = member;
  const way = wayOf(forwarding, path?.ifindex ?? 0);
  const common = { way, mtu: Math.min(path?.mtu ?? 0, 0xffff) };
  if (path === null || forwarding === ForwardingCode.l2) return common;
  const { family } = address;
  const prefix = family === 4 ? outerSources.ipv4 : outerSources.ipv6;
  const source = prefix?.address ?? path.source;
  // A source that the flow chooses is no constant of the sum.
  const constant = prefix === null ? [source, address] : [address];
  return {
    ...common,
    outerSum: family === 4 ? outerSum(constant) : 0,
    source: padded(source),
    destination: padded(address),
  };
}

/** Ones' complement sum of what is constant in an outer IPv4 header, as little-endian 16-bit words. */
function outerSum(addresses: readonly IpAddress[]): number {
  const words = addresses.flatMap(({ bytes }) => [
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

/** What the slots of a VIP as such and of a branch say of a service: nothing. */
const NO_TARGET: ServiceTarget = {
  buckets: 0,
  bucketMask: 0,
  members: 0,
  counter: 0,
  hashWords: 0,
  wide: 0,
  codePoints: 0,
};
