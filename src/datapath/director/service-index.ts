/**
 * The service index: from a packet's destination, port and protocol to its service in two dependent
 * loads, by hash and displace (Belazzougui, Botelho, Dietzfelbinger, "Hash, displace, and compress",
 * 2009). User space lays it out so that no two keys share a slot:
 *
 *     h    = swapBytes(mix(key)) * seed                         64 bits, the seed odd
 *     slot = (h >> 40) ^ displacements[(h >> 20) & mask]
 *
 * How large the tables are is a constant of the program, and what it multiplies by the size of a slot
 * is kept multiplied. The slot holds the whole key, so a packet that is no service's never matches. The look-up emitted
 * here and the layout (`index-plan.ts`) must agree; the tests compare them key by key.
 *
 * Beside one slot for each service address there is one for each VIP alone (port 0, protocol 256),
 * asked for only by packets whose ports cannot be read.
 */
import type { FunctionBuilder } from "../../bpf/function.ts";
import type { RecordOf } from "../../bpf/layout.ts";
import { all, type Condition, type Lazy, type Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import { arenaRecordBytes, indexLayout } from "../../model/arena-size.ts";
import type { IpAddress } from "../../net/address.ts";
import { ArenaHeader, IndexHead, ServiceSlot } from "../layout.ts";
import type { Director } from "./context.ts";

/** The protocol of the slot that stands for a VIP as such: a number that fits no packet's eight bits. */
export const VIP_PROTOCOL = 256;
/** The same of the slot of a prefix that services with prefixes, ranges or all ports are searched under. */
export const ANCHOR_PROTOCOL = 257;

export interface ServiceKey {
  readonly vip: IpAddress;
  /** Host order; 0 with `VIP_PROTOCOL`. */
  readonly port: number;
  /** IP protocol number, `VIP_PROTOCOL` or `ANCHOR_PROTOCOL`. */
  readonly protocol: number;
  /** `HashWords` of the service; those of the five-tuple unless given. */
  readonly hashWords?: number;
}

/** What a slot says of its service, next to the key. */
export type ServiceTarget = Omit<
  RecordOf<typeof ServiceSlot.fields>,
  "key0" | "key1" | "key2" | "hashSum"
>;

/**
 * A product's high bits depend on all of the key, its low ones only on what is below them. So bytes
 * are swapped between two products, or keys that differ in the last bytes of an address would share
 * bucket and slot; and the second factor is the seed: a sum with it would keep every distance.
 *
 * The two halves of an IPv6 address are added after their products. The last bytes of each are in the
 * products' highest bits alone, where those of the other half could cancel them, by any seed: so the
 * first product's upper half is folded into its lower one.
 */
export const M1 = 0x9e3779b97f4a7c15n;
export const M2 = 0xbf58476d1ce4e5b9n;
export const M3 = 0x94d049bb133111ebn;
/** The bits of the hash that choose the displacement and the slot: 20 and 24, more than an arena holds. */
export const BUCKET_SHIFT = 20;
export const SLOT_SHIFT = 40;
/** What displacements are multiplied by. */
export const SLOT_SCALE = ServiceSlot.size;

type Index = Pick<Director, "p" | "arena" | "variant">;

interface LookupKey {
  readonly family: 4 | 6;
  /** The address as words in the packet's order: one of 32 bits, or two of 64. */
  readonly address: readonly Value[];
  readonly port: Value;
  readonly protocol: Value;
}

export interface Lookup {
  /** A `ServiceSlot`. */
  readonly slot: Pointer;
  /** Whether it is the key's. */
  readonly found: Lazy;
}

/** Emits the look-up of a key. */
export const emitLookup = (director: Index, key: LookupKey): Lookup =>
  key.family === 4 ? emitLookupIpv4(director, key) : emitLookupIpv6(director, key);

function emitLookupIpv4(director: Index, { address, port, protocol }: LookupKey): Lookup {
  const [destination] = address as readonly [Value];
  const key0 = destination.raw().u64().or(port.raw().u64().shl(32)).or(protocol.u64().shl(48));
  const slot = emitSlot(director, "ipv4", key0.mul(constant(director.p, M1)));
  return { slot, found: () => slot.as(ServiceSlot).key0.eq(key0) };
}

function emitLookupIpv6(director: Index, { address, port, protocol }: LookupKey): Lookup {
  const [high, low] = address as readonly [Value, Value];
  const key2 = port.raw().or(protocol.shl(16)).u32();
  const { p } = director;
  const first = high.mul(constant(p, M1));
  const mixed = first
    .xor(first.shr(32))
    .add(low.mul(constant(p, M3)))
    .add(key2.u64().mul(constant(p, M2)));
  const slot = emitSlot(director, "ipv6", mixed);
  const { key0, key1, key2: third } = slot.as(ServiceSlot);
  const found = (): Condition =>
    all(
      () => third.eq(key2),
      () => key1.eq(low),
      () => key0.eq(high),
    );
  return { slot, found };
}

function emitSlot(
  { arena, variant: { maps } }: Index,
  family: "ipv4" | "ipv6",
  mixed: Value,
): Pointer {
  const { slots, slotsAt, displacements, displacementsAt } = indexLayout(maps.index)[family];
  const start = arena.pointer(IndexHead.size, arena.fixed(ArenaHeader, 0).index.read());
  const hash = mixed.toNetwork().raw().mul(start.as(IndexHead).seed);
  const bucket = hash
    .shr(BUCKET_SHIFT - Math.log2(DISPLACEMENT_BYTES))
    .unchanged(4)
    .and((displacements - 1) * DISPLACEMENT_BYTES);
  const displacement = within(start, bucket, displacementsAt).place(DISPLACEMENT_BYTES).read();
  const slot = hash
    .shr(SLOT_SHIFT - Math.log2(SLOT_SCALE))
    .u32()
    .xor(displacement)
    .and((slots - 1) * SLOT_SCALE);
  return within(start, slot, slotsAt);
}

/** A record of an index that begins at `start`. The arena reaches as far behind its end as an index does. */
function within(start: Pointer, distance: Value, constant: number): Pointer {
  return constant <= CONSTANT_MAX
    ? start.plus(distance).plus(constant)
    : start.plus(distance.add(constant));
}

const DISPLACEMENT_BYTES = arenaRecordBytes.displacement;
/** The offset in an instruction has 15 bits, and a slot's fields come on top. */
const CONSTANT_MAX = 0x7fff - ServiceSlot.size;

const constant = (p: FunctionBuilder, value: bigint): Value => p.constant(value, 8);

interface SlotKey {
  readonly key0: bigint;
  readonly key1: bigint;
  readonly key2: number;
}

/** The key as the program composes it from the packet's bytes. */
export function keyOf({
  vip,
  port,
  protocol,
}: Pick<ServiceKey, "vip" | "port" | "protocol">): SlotKey {
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
