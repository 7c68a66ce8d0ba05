/**
 * The service index: from a packet's destination, port and protocol to its service in two dependent
 * loads, by hash and displace (Belazzougui, Botelho, Dietzfelbinger, "Hash, displace, and compress",
 * 2009). User space lays it out so that no two keys share a slot:
 *
 *     h    = swapBytes(mix(key)) * seed                         64 bits, the seed odd
 *     slot = (h >> 40) ^ displacements[(h >> 20) & mask]
 *
 * The slot holds the whole key, so a packet that is no service's never matches. The two halves of
 * this file, the layout and the emitted look-up, must agree; the test compares them key by key.
 *
 * Beside one slot for each service address there is one for each VIP alone (port 0, protocol 256),
 * asked for only by packets whose ports cannot be read.
 */
import type { FunctionBuilder } from "../../bpf/function.ts";
import type { RecordOf } from "../../bpf/layout.ts";
import { all, type Condition, type Lazy, type Value } from "../../bpf/value.ts";
import type { Place, View } from "../../bpf/view.ts";
import type { IpAddress } from "../../net/address.ts";
import type { ArenaAccess } from "../arena.ts";
import { ArenaHeader, IndexHead, ServiceSlot } from "../layout.ts";

/** The protocol of the slot that stands for a VIP as such: a number that fits no packet's eight bits. */
export const VIP_PROTOCOL = 256;

export interface ServiceKey {
  readonly vip: IpAddress;
  /** Host order; 0 with `VIP_PROTOCOL`. */
  readonly port: number;
  /** IP protocol number, or `VIP_PROTOCOL`. */
  readonly protocol: number;
}

/** What a slot says of its service, next to the key. */
export type ServiceTarget = Omit<RecordOf<typeof ServiceSlot.fields>, "key0" | "key1" | "key2">;

export interface ServiceEntry extends ServiceKey {
  readonly target: ServiceTarget;
}

/**
 * A product's high bits depend on all of the key, its low ones only on what is below them. So bytes
 * are swapped between two products, or keys that differ in the last bytes of an address would share
 * bucket and slot; and the second factor is the seed: a sum with it would keep every distance.
 */
const M1 = 0x9e3779b97f4a7c15n;
const M2 = 0xbf58476d1ce4e5b9n;
const M3 = 0x94d049bb133111ebn;
const MASK_64 = (1n << 64n) - 1n;
/** The bits of the hash that choose the displacement and the slot: 20 and 24, more than an arena holds. */
const BUCKET_SHIFT = 20;
const SLOT_SHIFT = 40;

/** Bytes of the index for so many entries: known before it is laid out, so that room can be made. */
export function indexSize(entries: readonly ServiceKey[]): number {
  return (
    IndexHead.size +
    [4, 6].reduce((sum, version) => {
      const shape = shapeOf(entries.filter(({ vip }) => vip.family === version).length);
      return sum + shape.displacements * 4 + shape.slots * ServiceSlot.size;
    }, 0)
  );
}

/**
 * Lays out an index that will lie at `offset` of the arena (64-byte aligned).
 * @throws {RangeError} when two entries have the same key
 */
export function buildIndex(entries: readonly ServiceEntry[], offset: number): Uint8Array {
  const keys = new Set(entries.map((entry) => keyText(entry)));
  if (keys.size !== entries.length)
    throw new RangeError("Cannot index services: two have the same VIP, protocol and port");
  for (let attempt = 1n; attempt <= ATTEMPTS_MAX; attempt += 1n) {
    const seed = seedOf(attempt);
    const ipv4 = placeFamily(entries, 4, seed);
    const ipv6 = placeFamily(entries, 6, seed);
    if (ipv4 !== null && ipv6 !== null) return encodeIndex(seed, ipv4, ipv6, offset);
  }
  throw new Error(
    `Cannot index ${entries.length} services: none of ${ATTEMPTS_MAX} seeds keeps them apart`,
  );
}

/** Most indexes take the first seed, none of those the tests build more than a few. */
const ATTEMPTS_MAX = 64n;

/** Odd numbers without pattern: the finish of SplitMix64 (Steele, Lea, Flood, 2014). */
function seedOf(attempt: bigint): bigint {
  let seed = (attempt * M1) & MASK_64;
  seed = ((seed ^ (seed >> 30n)) * M2) & MASK_64;
  seed = ((seed ^ (seed >> 27n)) * M3) & MASK_64;
  return (seed ^ (seed >> 31n)) | 1n;
}

/** Emits the look-up of an IPv4 service; `found` holds where the packet has one. */
export function emitLookupIpv4(
  p: FunctionBuilder,
  arena: ArenaAccess,
  key: { readonly destination: Value; readonly port: Value; readonly protocol: Value },
): { readonly slot: View<typeof ServiceSlot.fields>; readonly found: Lazy } {
  const key0 = key.destination
    .raw()
    .u64()
    .or(key.port.raw().u64().shl(32))
    .or(key.protocol.u64().shl(48));
  const head = currentHead(p, arena);
  const slot = emitSlot(arena, key0.mul(constant(p, M1)), head.seed, {
    displacements: head.ipv4Displacements.read(),
    displacementMask: head.ipv4DisplacementMask.read(),
    slots: head.ipv4Slots.read(),
    slotMask: head.ipv4SlotMask.read(),
  });
  return { slot, found: () => slot.key0.eq(key0) };
}

/** Emits the look-up of an IPv6 service; `found` holds where the packet has one. */
export function emitLookupIpv6(
  p: FunctionBuilder,
  arena: ArenaAccess,
  key: {
    /** Bytes 0 to 7 and 8 to 15 of the address as 64-bit host numbers. */
    readonly high: Value;
    readonly low: Value;
    readonly port: Value;
    readonly protocol: Value;
  },
): { readonly slot: View<typeof ServiceSlot.fields>; readonly found: Lazy } {
  const { high, low } = key;
  const key2 = key.port.raw().or(key.protocol.shl(16)).u32();
  const head = currentHead(p, arena);
  const mixed = high
    .mul(constant(p, M1))
    .add(low.mul(constant(p, M3)))
    .add(key2.u64().mul(constant(p, M2)));
  const slot = emitSlot(arena, mixed, head.seed, {
    displacements: head.ipv6Displacements.read(),
    displacementMask: head.ipv6DisplacementMask.read(),
    slots: head.ipv6Slots.read(),
    slotMask: head.ipv6SlotMask.read(),
  });
  const found = (): Condition =>
    all(
      () => slot.key2.eq(key2),
      () => slot.key1.eq(low),
      () => slot.key0.eq(high),
    );
  return { slot, found };
}

interface FamilyHead {
  readonly displacements: Value;
  readonly displacementMask: Value;
  readonly slots: Value;
  readonly slotMask: Value;
}

function currentHead(p: FunctionBuilder, arena: ArenaAccess): View<typeof IndexHead.fields> {
  return arena.record(IndexHead, arena.fixed(ArenaHeader, 0).index.read());
}

function emitSlot(
  arena: ArenaAccess,
  mixed: Value,
  seed: Place,
  head: FamilyHead,
): View<typeof ServiceSlot.fields> {
  const hash = mixed.toNetwork().raw().mul(seed);
  const bucket = hash.shr(BUCKET_SHIFT).u32().and(head.displacementMask);
  const displacement = arena
    .pointer(4, head.displacements.add(bucket.shl(2)))
    .place(4)
    .read();
  const slot = hash.shr(SLOT_SHIFT).u32().xor(displacement).and(head.slotMask);
  return arena.record(ServiceSlot, head.slots.add(slot.shl(6)));
}

const constant = (p: FunctionBuilder, value: bigint): Value => p.constant(value, 8);

interface PlacedFamily {
  readonly displacements: Uint32Array;
  readonly slots: readonly (ServiceEntry | undefined)[];
}

/** Two slots an entry, so that nearly every displacement fits; a displacement for every two entries. */
function shapeOf(count: number): { readonly displacements: number; readonly slots: number } {
  return {
    displacements: powerOfTwoFrom(Math.max(count / 2, 1)),
    slots: powerOfTwoFrom(Math.max(count * 2, 1)),
  };
}

function placeFamily(
  entries: readonly ServiceEntry[],
  version: 4 | 6,
  seed: bigint,
): PlacedFamily | null {
  const own = entries.filter(({ vip }) => vip.family === version);
  const shape = shapeOf(own.length);
  const displacements = new Uint32Array(shape.displacements);
  const slots: (ServiceEntry | undefined)[] = Array.from({ length: shape.slots });
  const groups = new Map<number, { entry: ServiceEntry; high: number }[]>();
  for (const entry of own) {
    const hash = hashOf(keyOf(entry), version, seed);
    const bucket =
      Number((hash >> BigInt(BUCKET_SHIFT)) & 0xffff_ffffn) & (shape.displacements - 1);
    const group = groups.get(bucket) ?? [];
    groups.set(bucket, [...group, { entry, high: Number(hash >> BigInt(SLOT_SHIFT)) }]);
  }
  const largestFirst = [...groups].toSorted(([, a], [, b]) => b.length - a.length);
  for (const [bucket, group] of largestFirst) {
    const placement = findDisplacement(
      group.map(({ high }) => high),
      slots,
    );
    if (placement === null) return null;
    displacements[bucket] = placement;
    for (const { entry, high } of group)
      slots[((high ^ placement) & (shape.slots - 1)) >>> 0] = entry;
  }
  return { displacements, slots };
}

function findDisplacement(highs: readonly number[], slots: readonly unknown[]): number | null {
  const mask = slots.length - 1;
  // An XOR moves a group's keys together: two on one slot stay so whatever the displacement.
  if (new Set(highs.map((high) => high & mask)).size !== highs.length) return null;
  for (let displacement = 0; displacement < slots.length; displacement += 1) {
    if (highs.every((high) => slots[(high ^ displacement) & mask] === undefined))
      return displacement;
  }
  return null;
}

function encodeIndex(
  seed: bigint,
  ipv4: PlacedFamily,
  ipv6: PlacedFamily,
  offset: number,
): Uint8Array {
  const sizeOf = ({ displacements, slots }: PlacedFamily): number =>
    displacements.length * 4 + slots.length * ServiceSlot.size;
  const out = new Uint8Array(IndexHead.size + sizeOf(ipv4) + sizeOf(ipv6));
  const view = new DataView(out.buffer);
  // Slots first: they need the alignment.
  const ipv4Slots = IndexHead.size;
  const ipv6Slots = ipv4Slots + ipv4.slots.length * ServiceSlot.size;
  const ipv4Displacements = ipv6Slots + ipv6.slots.length * ServiceSlot.size;
  const ipv6Displacements = ipv4Displacements + ipv4.displacements.length * 4;
  IndexHead.write(out, {
    seed,
    ipv4Displacements: offset + ipv4Displacements,
    ipv4DisplacementMask: ipv4.displacements.length - 1,
    ipv4Slots: offset + ipv4Slots,
    ipv4SlotMask: ipv4.slots.length - 1,
    ipv6Displacements: offset + ipv6Displacements,
    ipv6DisplacementMask: ipv6.displacements.length - 1,
    ipv6Slots: offset + ipv6Slots,
    ipv6SlotMask: ipv6.slots.length - 1,
  });
  for (const [{ slots, displacements }, slotsAt, displacementsAt] of [
    [ipv4, ipv4Slots, ipv4Displacements],
    [ipv6, ipv6Slots, ipv6Displacements],
  ] as const) {
    slots.forEach((entry, index) => {
      const slot = entry === undefined ? UNUSED_KEY : { ...entry.target, ...keyOf(entry) };
      ServiceSlot.write(out, slot, slotsAt + index * ServiceSlot.size);
    });
    displacements.forEach((value, index) =>
      view.setUint32(displacementsAt + index * 4, value, true),
    );
  }
  return out;
}

interface SlotKey {
  readonly key0: bigint;
  readonly key1: bigint;
  readonly key2: number;
}

/** No packet has it: ports and protocol leave the upper eight bits of `key0` or `key2` zero. */
const UNUSED_KEY: SlotKey = { key0: MASK_64, key1: MASK_64, key2: 0xffff_ffff };

/** The key as the program composes it from the packet's bytes. */
export function keyOf({ vip, port, protocol }: ServiceKey): SlotKey {
  const view = new DataView(vip.bytes.buffer, vip.bytes.byteOffset, vip.bytes.byteLength);
  const portRaw = ((port & 0xff) << 8) | (port >> 8);
  if (vip.family === 4) {
    const address = BigInt(view.getUint32(0, true));
    return {
      key0: address | (BigInt(portRaw) << 32n) | (BigInt(protocol) << 48n),
      key1: 0n,
      key2: 0,
    };
  }
  return {
    key0: view.getBigUint64(0, true),
    key1: view.getBigUint64(8, true),
    key2: (portRaw | (protocol << 16)) >>> 0,
  };
}

function hashOf({ key0, key1, key2 }: SlotKey, version: 4 | 6, seed: bigint): bigint {
  let mixed = key0 * M1;
  if (version === 6) mixed += key1 * M3 + BigInt(key2) * M2;
  return (swap64(mixed & MASK_64) * seed) & MASK_64;
}

const swapBuffer = new DataView(new ArrayBuffer(8));
function swap64(value: bigint): bigint {
  swapBuffer.setBigUint64(0, value, true);
  return swapBuffer.getBigUint64(0, false);
}

const keyText = ({ vip, port, protocol }: ServiceKey): string =>
  `${vip.bytes.join()} ${port} ${protocol}`;

const powerOfTwoFrom = (atLeast: number): number => 2 ** Math.ceil(Math.log2(atLeast));
