/**
 * A yardstick: the director's logic in the shape most balancers have, a hash map of services and an LRU
 * map that remembers every flow's backend. Parsing, tables, counters and forwarding are the
 * director's own, so the difference is the two look-ups. IPv4 only.
 */
import { Helper } from "../src/bpf/helpers.ts";
import type { MapSpec } from "../src/bpf/image.ts";
import { MapType } from "../src/bpf/image.ts";
import { struct, u32 } from "../src/bpf/layout.ts";
import { hash } from "../src/bpf/maps.ts";
import { compile, type Program } from "../src/bpf/program.ts";
import { Pointer } from "../src/bpf/view.ts";
import { xdp, type XdpBuilder, XDP_DROP, XDP_PASS } from "../src/bpf/xdp.ts";
import { ArenaAccess } from "../src/datapath/arena.ts";
import { counterOffset, emitCount } from "../src/datapath/counters.ts";
import type { Director, Flow, Leave } from "../src/datapath/director/context.ts";
import { emitForward } from "../src/datapath/director/forward.ts";
import { keyOf } from "../src/datapath/director/service-index.ts";
import type { DirectorVariant } from "../src/datapath/director/variant.ts";
import { Member, NextHop, NO_OWNER, ServiceSlot, UNRESOLVED } from "../src/datapath/layout.ts";
import { directorReasonIndex, directorReasons } from "../src/datapath/reasons.ts";
import { type BpfMap, createMap } from "../src/kernel/maps.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { ETH_P_IP, Ethernet, IP_MF, IP_OFFSET, Ipv4, Udp } from "../src/packet/headers.ts";
import type { DesiredState } from "../src/plan/desired-state.ts";
import type { BenchDirector } from "./director.ts";
import { Placed } from "./placed.ts";
import { emitWholeHash } from "./whole-hash.ts";

/** A flow's backend, by its index in the pool. */
const FlowOwner = struct("flow_owner", { owner: u32 }, { size: 4 });
const FLOW_KEY_BYTES = 16;
/** Room for twice the flows of the largest case. */
const FLOWS_MAX = 1 << 21;

const services = hash("yard_services", 8, ServiceSlot, 4096);
const flows: MapSpec = {
  ...hash("yard_flows", FLOW_KEY_BYTES, FlowOwner, FLOWS_MAX),
  type: MapType.BPF_MAP_TYPE_LRU_HASH,
  flags: 0,
};

export function yardstickProgram(variant: DirectorVariant): Program {
  return xdp("carom_yardstick", (p) => {
    const packet = p.packet();
    const length = packet.length();
    const arena = new ArenaAccess(p, variant.maps.arena);
    const leave = leaveOf(p, variant, () => length);
    const director: Director = { p, packet, length, arena, leave, variant };

    packet.require(Ethernet.size + Ipv4.size + Udp.size, leave.too_short);
    const ethernet = packet.data.as(Ethernet);
    const own = new DataView(variant.mac.buffer, variant.mac.byteOffset, variant.mac.byteLength);
    p.require(ethernet.destination.word(0, 4).eq(own.getUint32(0, true)), leave.not_for_us);
    p.require(ethernet.destination.word(4, 2).eq(own.getUint16(4, true)), leave.not_for_us);
    p.require(ethernet.etherType.eq(ETH_P_IP), leave.not_ip);
    const ip = packet.data.plus(Ethernet.size).as(Ipv4);
    const ports = packet.data.plus(Ethernet.size + Ipv4.size);
    p.require(ip.versionIhl.eq(0x45), leave.ip_options);
    p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), leave.fragment);

    const protocol = ip.protocol.read();
    const destination = ip.destination.read();
    const port = ports.plus(2).place(2).read();
    const key = p.stack(8);
    key.place(8).set(destination.raw().u64().or(port.u64().shl(32)).or(protocol.u64().shl(48)));
    const service = p.lookupAt(services, key, leave.not_a_service).as(ServiceSlot);
    const ipLength = ip.totalLength.read().toHost();
    p.require(ipLength.ge(Ipv4.size + Udp.size), leave.malformed);
    p.require(ipLength.add(Ethernet.size).le(length), leave.malformed);

    const words = [ip.source.read().raw(), destination.raw(), ports.place(4).read(), protocol];
    const flowKey = p.stack(FLOW_KEY_BYTES);
    words.forEach((word, index) =>
      flowKey
        .plus(index * 4)
        .place(4)
        .set(word.u32()),
    );
    const owner = p.variable(NO_OWNER);
    const known = p.call(Helper.mapLookup, p.map(flows), flowKey);
    p.if(
      known.ne(0),
      () => owner.set(new Pointer(p, known.register).as(FlowOwner).owner),
      () => {
        const again = [0, 4, 8, 12].map((at) => flowKey.plus(at).place(4).read());
        const hashed = emitWholeHash(p, variant.hashKey, again);
        const offset = service.buckets.read().add(hashed.shl(2).and(service.bucketMask));
        const fresh = arena.pointer(4, offset).place(4).read().and(0xffff);
        owner.set(fresh);
        const value = p.stack(FlowOwner.size);
        value.place(4).set(fresh);
        p.call(Helper.mapUpdate, p.map(flows), flowKey, value, 0);
      },
    );
    p.leaveIf(owner.eq(NO_OWNER), leave.no_backend);
    const member = arena.record(Member, service.members.read().add(owner.shl(6)));
    const nextHop = arena.record(NextHop, member.nextHop.read());
    const addresses = nextHop.addresses.read();
    p.leaveIf(addresses.has(UNRESOLVED), leave.no_next_hop);
    const flow: Flow = {
      family: 4,
      link: { net: packet.data.plus(Ethernet.size), etherType: p.constant(ETH_P_IP), tagBytes: 0 },
      service,
      ipLength,
      trafficClass: ip.tos.read(),
      // No outer IPv4 header nor MAC depends on the hash, nor on what lies behind the IP header.
      hash: p.constant(0),
      transport: () => {
        throw new TypeError("A yardstick does not look behind the IP header");
      },
      expired: leave.time_exceeded_silent,
    };
    emitForward(director, flow, { member, owner, nextHop, addresses });
  });
}

/** Exits by reason, counted as the director counts them. */
function leaveOf(
  p: XdpBuilder,
  { maps }: DirectorVariant,
  length: () => Director["length"],
): Leave {
  return Object.fromEntries(
    directorReasons.map(({ name, fate }) => [
      name,
      p.exit(() => {
        emitCount(p, maps.counters, length(), [counterOffset(directorReasonIndex(name))]);
        p.return(fate === "passed" ? XDP_PASS : XDP_DROP);
      }),
    ]),
  ) as Leave;
}

/** A yardstick in the kernel, over a director's tables. Dispose of it to close what it holds. */
export class Yardstick {
  readonly program: Placed;
  readonly #services: BpfMap;
  readonly #flows: BpfMap;

  /** `slotOf` says what the director's index holds for a service. @throws {KernelError} */
  constructor(director: BenchDirector, state: DesiredState) {
    this.#services = createMap(services);
    this.#flows = createMap(flows);
    const own = new Map([
      [services, this.#services],
      [flows, this.#flows],
    ]);
    const image = compile(yardstickProgram(director.variant));
    this.program = new Placed(() =>
      loadProgram(image, (spec) => (own.get(spec) ?? director.map(spec)).fd),
    );
    for (const service of state.services) {
      const { vip, ports, protocol } = service;
      const { key0 } = keyOf({ vip: vip.address, port: ports.first, protocol: protocol ?? 0 });
      const key = new Uint8Array(BigUint64Array.of(key0).buffer);
      this.#services.update(key, director.slotOf(key0));
    }
  }

  [Symbol.dispose](): void {
    this.program.close();
    this.#services.close();
    this.#flows.close();
  }
}
