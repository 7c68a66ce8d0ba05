/**
 * Floors: the least that can forward a packet with full counters, so that the distance between the
 * director and what is possible can be seen. They know one VIP table of 64 slots without a second
 * chance, one bucket table of 65 536, 256 backends; no MAC of ours to compare, no fragments but
 * refused, no TTL, no MTU, no second interface, no reasons. Their sizes are fixed and listed in
 * docs/benchmarks.md, so that they cannot grow to flatter the director.
 */
import type { RecordOf } from "../src/bpf/layout.ts";
import { pad, bytes, struct, u16, u32, u64 } from "../src/bpf/layout.ts";
import { Helper } from "../src/bpf/helpers.ts";
import { globalData } from "../src/bpf/maps.ts";
import { compile, type Program } from "../src/bpf/program.ts";
import { all, type Condition, type Value } from "../src/bpf/value.ts";
import type { Pointer, View } from "../src/bpf/view.ts";
import { type Packet, xdp, type XdpBuilder, XDP_DROP, XDP_PASS, XDP_TX } from "../src/bpf/xdp.ts";
import { counterOffset, declareCounters, emitCount } from "../src/datapath/counters.ts";
import { OUTER_TTL } from "../src/datapath/director/tunnel.ts";
import { keyOf } from "../src/datapath/director/service-index.ts";
import { type BpfMap, createMap } from "../src/kernel/maps.ts";
import { possibleCpuLimit } from "../src/kernel/possible-cpus.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { onesSum } from "../src/packet/checksum.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_DF,
  IP_MF,
  IP_OFFSET,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  Ipv4,
  Ipv6,
  Udp,
} from "../src/packet/headers.ts";
import type { DesiredMember, DesiredState } from "../src/plan/desired-state.ts";
import { Placed } from "./placed.ts";
import type { Family } from "./traffic.ts";
import { HASH_KEY, macOf, type Way } from "./world.ts";
import { emitWholeHash } from "./whole-hash.ts";

const Slot = struct(
  "floor_slot",
  { key0: u64, key1: u64, key2: u32, counter: u32, _reserved: pad(8) },
  { size: 32 },
);
const Backend = struct(
  "floor_backend",
  {
    /** Destination MAC and the start of the source MAC. */
    addresses: u64,
    sourceRest: u32,
    /** Of the constant words of an outer IPv4 header, network order, not complemented. */
    outerSum: u32,
    source: bytes(16),
    destination: bytes(16),
    _reserved: pad(16),
  },
  { size: 64 },
);

const SLOT_BITS = 6;
const BUCKETS = 65536;
const BACKENDS = 256;
const BUCKETS_AT = Slot.size << SLOT_BITS;
const BACKENDS_AT = BUCKETS_AT + BUCKETS * u16.size;
/** Spreads a key over the slots by its upper bits; any odd number without a collision does. */
const MULTIPLIER = 0x9e3779b97f4a7c15n;

const table = globalData("floor_table", BACKENDS_AT + BACKENDS * Backend.size);
/** Of VIPs, then of backends. */
const counters = declareCounters("floor_counters", (1 << SLOT_BITS) + BACKENDS, possibleCpuLimit());
const BACKEND_COUNTERS_AT = counterOffset(1 << SLOT_BITS);

/** The ways there is a floor of. */
export const floorWays = ["l2", "ipip4", "ipip6"] as const satisfies readonly Way[];
export type FloorWay = (typeof floorWays)[number];

/** The least that forwards packets of `family` this way. */
export function floorProgram(family: Family, way: FloorWay): Program {
  return xdp("carom_floor", (p) => {
    const packet = p.packet();
    const length = packet.length();
    const header = family === 4 ? Ipv4 : Ipv6;
    packet.require(Ethernet.size + header.size + Udp.size, XDP_PASS);
    const { etherType } = packet.data.as(Ethernet);
    p.require(etherType.eq(family === 4 ? ETH_P_IP : ETH_P_IPV6), XDP_PASS);
    const { slot, hash, trafficClass, ipLength } =
      family === 4 ? parse4(p, packet) : parse6(p, packet);
    const bucket = hash()
      .and(BUCKETS - 1)
      .shl(1);
    const owner = p.mapValue(table, BUCKETS_AT).plus(bucket).place(2).read();
    const at = owner.and(BACKENDS - 1);
    const backend = p.mapValue(table, BACKENDS_AT).plus(at.shl(6)).as(Backend);
    if (way === "l2") {
      emitMacs(packet.data, backend);
    } else {
      const { size } = way === "ipip4" ? Ipv4 : Ipv6;
      const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, -size);
      p.require(moved.u32().eq(0), XDP_DROP);
      const longer = p.packet();
      longer.require(Ethernet.size + size, XDP_DROP);
      emitMacs(longer.data, backend);
      const protocol = family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
      const outer = { backend, protocol, trafficClass, ipLength, hash };
      if (way === "ipip4") emitOuter4(longer.data, outer);
      else emitOuter6(longer.data, outer);
    }
    emitCount(p, counters, length, [slot.counter.read(), at.shl(4).add(BACKEND_COUNTERS_AT)]);
    p.return(XDP_TX);
  });
}

interface Parsed {
  readonly slot: View<typeof Slot.fields>;
  /** Emitted where it is first asked for. */
  readonly hash: () => Value;
  readonly trafficClass: Value;
  readonly ipLength: Value;
}

function parse4(p: XdpBuilder, packet: Packet): Parsed {
  const ip = packet.data.plus(Ethernet.size).as(Ipv4);
  const ports = packet.data.plus(Ethernet.size + Ipv4.size);
  p.require(ip.versionIhl.eq(0x45), XDP_PASS);
  p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), XDP_PASS);
  const destination = ip.destination.read();
  const protocol = ip.protocol.read();
  const port = ports.plus(2).place(2).read();
  const key0 = destination.raw().u64().or(port.u64().shl(32)).or(protocol.u64().shl(48));
  const slot = slotAt(p, key0);
  p.require(slot.key0.eq(key0), XDP_PASS);
  const words = [ip.source.read(), destination, ports.place(4).read(), protocol];
  return {
    slot,
    hash: once(() => emitWholeHash(p, HASH_KEY, words)),
    trafficClass: ip.tos.read(),
    ipLength: ip.totalLength.read().toHost(),
  };
}

function parse6(p: XdpBuilder, packet: Packet): Parsed {
  const ip = packet.data.plus(Ethernet.size).as(Ipv6);
  const ports = packet.data.plus(Ethernet.size + Ipv6.size);
  const high = ip.destination.word(0, 8).read();
  const low = ip.destination.word(8, 8).read();
  const protocol = ip.nextHeader.read();
  const key2 = ports.plus(2).place(2).read().or(protocol.shl(16)).u32();
  const slot = slotAt(p, high.xor(low).xor(key2.u64()));
  const same = all(
    () => slot.key2.eq(key2),
    () => slot.key1.eq(low),
    () => slot.key0.eq(high),
  ) satisfies Condition;
  p.require(same, XDP_PASS);
  const words = [
    ...[0, 4, 8, 12].map((at) => ip.source.word(at, 4).read()),
    ...[0, 4, 8, 12].map((at) => ip.destination.word(at, 4).read()),
    ports.place(4).read(),
    protocol,
  ];
  return {
    slot,
    hash: once(() => emitWholeHash(p, HASH_KEY, words)),
    trafficClass: ip.versionClassFlow.read().toHost().shr(20).and(0xff),
    ipLength: ip.payloadLength.read().toHost().add(Ipv6.size),
  };
}

function slotAt(p: XdpBuilder, key: Value): View<typeof Slot.fields> {
  const index = key.mul(p.constant(MULTIPLIER, 8)).shr(64 - SLOT_BITS);
  return p.mapValue(table).plus(index.shl(5)).as(Slot);
}

function emitMacs(data: Pointer, backend: View<typeof Backend.fields>): void {
  data.place(8).set(backend.addresses);
  data.plus(8).place(4).set(backend.sourceRest);
}

interface Outer extends Pick<Parsed, "trafficClass" | "ipLength" | "hash"> {
  readonly backend: View<typeof Backend.fields>;
  readonly protocol: number;
}

function emitOuter4(data: Pointer, { backend, protocol, trafficClass, ipLength }: Outer): void {
  data.as(Ethernet).etherType.set(ETH_P_IP);
  const outer = data.plus(Ethernet.size).as(Ipv4);
  const totalLength = ipLength.add(Ipv4.size);
  outer.versionIhl.set(0x45);
  outer.tos.set(trafficClass);
  outer.totalLength.set(totalLength.toNetwork(2));
  outer.identification.set(0);
  outer.flagsFragment.set(IP_DF);
  outer.ttl.set(OUTER_TTL);
  outer.protocol.set(protocol);
  let sum = backend.outerSum.read().add(trafficClass).add(totalLength);
  sum = sum.and(0xffff).add(sum.shr(16));
  sum = sum.add(sum.shr(16));
  outer.checksum.set(sum.xor(0xffff).toNetwork(2));
  outer.source.set(backend.source.word(0, 4, "network"));
  outer.destination.set(backend.destination.word(0, 4, "network"));
}

function emitOuter6(
  data: Pointer,
  { backend, protocol, trafficClass, ipLength, hash }: Outer,
): void {
  data.as(Ethernet).etherType.set(ETH_P_IPV6);
  const outer = data.plus(Ethernet.size).as(Ipv6);
  const label = hash().and(0xfffff);
  outer.versionClassFlow.set(
    trafficClass
      .shl(20)
      .or(6 << 28)
      .or(label)
      .toNetwork(),
  );
  outer.payloadLength.set(ipLength.toNetwork(2));
  outer.nextHeader.set(protocol);
  outer.hopLimit.set(OUTER_TTL);
  outer.source.set(backend.source);
  outer.destination.set(backend.destination);
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** A floor in the kernel, its tables filled. Dispose of it to close what it holds. */
export class Floor {
  readonly program: Placed;
  readonly #maps: ReadonlyMap<unknown, BpfMap>;

  /** @throws {KernelError} */
  constructor(family: Family, way: FloorWay, state: DesiredState) {
    this.#maps = new Map([table, counters.map].map((spec) => [spec, createMap(spec)]));
    const fd = (spec: unknown): number => this.#maps.get(spec)?.fd ?? -1;
    const image = compile(floorProgram(family, way));
    this.program = new Placed(() => loadProgram(image, fd));
    const memory = this.#maps.get(table)?.mmap();
    if (memory === undefined) throw new Error("A floor has a table");
    fill(memory.bytes, state, way === "ipip4" ? outerProtocol(family) : 0);
    memory.unmap();
  }

  [Symbol.dispose](): void {
    this.program.close();
    for (const map of this.#maps.values()) map.close();
  }
}

const outerProtocol = (family: Family): number => (family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6);

/** Writes a state of one pool; its services all lead there. */
function fill(memory: Uint8Array, { pools, services }: DesiredState, protocol: number): void {
  const [pool] = pools;
  if (pool === undefined || pool.table.size !== BUCKETS || pool.members.length > BACKENDS) {
    throw new RangeError(`A floor has one pool of ${BUCKETS} buckets and ${BACKENDS} backends`);
  }
  for (const service of services) {
    const key = keyOf({
      vip: service.vip.address,
      port: service.ports.first,
      protocol: service.protocol ?? 0,
    });
    const at = slotOffset(key);
    if (Slot.read(memory, at).key0 !== 0n) throw new RangeError("Two services share a slot");
    Slot.write(memory, { ...key, counter: counterOffset(service.counter) }, at);
  }
  new Uint16Array(memory.buffer, memory.byteOffset + BUCKETS_AT, BUCKETS).set(pool.table.base);
  pool.members.forEach((member, index) => {
    Backend.write(memory, backendRecord(member, protocol), BACKENDS_AT + index * Backend.size);
  });
}

function slotOffset({ key0, key1, key2 }: ReturnType<typeof keyOf>): number {
  const mixed = BigInt.asUintN(64, (key0 ^ key1 ^ BigInt(key2)) * MULTIPLIER);
  return Number(mixed >> BigInt(64 - SLOT_BITS)) * Slot.size;
}

function backendRecord(
  { address, path }: DesiredMember,
  protocol: number,
): Partial<RecordOf<typeof Backend.fields>> {
  if (path === null) throw new TypeError("A floor's backends all have a path");
  const macs = new DataView(Uint8Array.of(...macOf(path), ...path.mac).buffer);
  const fixed = { versionIhl: 0x45, flagsFragment: IP_DF, ttl: OUTER_TTL, protocol };
  const outer = Ipv4.encode(fixed);
  const sum = [outer, path.source.bytes, address.bytes].reduce((so, next) => onesSum(next, so), 0);
  return {
    addresses: macs.getBigUint64(0, true),
    sourceRest: macs.getUint32(8, true),
    outerSum: sum,
    source: padded(path.source.bytes),
    destination: padded(address.bytes),
  };
}

function padded(address: Uint8Array): Uint8Array {
  const out = new Uint8Array(16);
  out.set(address);
  return out;
}
