/**
 * The director as a pure function from a frame to what must become of it, in the plainest words:
 * what the tests hold the program against. It shares the flow hash and the layouts' constants with
 * the program and nothing else; there is no index, no arena and no specialisation here.
 */
import { XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX } from "../../bpf/xdp.ts";
import type { IpAddress } from "../../net/address.ts";
import type { Mac } from "../../net/mac.ts";
import { internetChecksum } from "../../packet/checksum.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_DF,
  IP_MF,
  IP_OFFSET,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_ROUTING,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import { type FlowHashKey, flowHash } from "../flow-hash.ts";
import { ForwardingCode, NO_OWNER } from "../layout.ts";
import { directorReasons, type DirectorReason } from "../reasons.ts";

export interface ReferenceMember {
  readonly forwarding: ForwardingCode;
  /** `null`: there is no way to it. */
  readonly path: {
    readonly ifindex: number;
    readonly sourceMac: Mac;
    /** `null` while unresolved. */
    readonly nextHopMac: Mac | null;
    readonly mtu: number;
    readonly source: IpAddress;
  } | null;
  readonly address: IpAddress;
}

export interface ReferenceService {
  readonly vip: IpAddress;
  readonly protocol: number;
  readonly port: number;
  readonly counter: number;
  readonly pool: {
    readonly owners: Uint16Array;
    readonly members: readonly ReferenceMember[];
    readonly memberCounters: number;
  };
}

export interface ReferenceDirector {
  readonly mac: Mac;
  readonly ifindex: number;
  readonly hashKey: FlowHashKey;
  readonly services: readonly ReferenceService[];
}

export interface DirectorOutcome {
  readonly reason: DirectorReason;
  readonly verdict: number;
  /** The frame afterwards; `null` when it is dropped. */
  readonly packet: Uint8Array | null;
  /** The two counters a forwarded packet counts under besides its reason. */
  readonly counters: { readonly service: number; readonly member: number } | null;
}

/** A function that says what becomes of a frame of 14 bytes or more. */
export function referenceDirector(
  world: ReferenceDirector,
): (packet: Uint8Array) => DirectorOutcome {
  const services = new Map(
    world.services.map((service) => [
      serviceKey(service.vip.bytes, service.protocol, service.port),
      service,
    ]),
  );
  const vips = new Set(world.services.map(({ vip }) => vip.bytes.join(".")));
  const tables: Tables = {
    world,
    families: new Set(world.services.map(({ vip }) => vip.family)),
    isVip: (bytes) => vips.has(bytes.join(".")),
    serviceOf: (bytes, protocol, port) => services.get(serviceKey(bytes, protocol, port)),
  };
  return (packet) => decide(tables, packet);
}

interface Tables {
  readonly world: ReferenceDirector;
  /** Those that services have. */
  readonly families: ReadonlySet<4 | 6>;
  readonly isVip: (address: Uint8Array) => boolean;
  readonly serviceOf: (
    address: Uint8Array,
    protocol: number,
    port: number,
  ) => ReferenceService | undefined;
}

/** What of a flow matters to the choice of an owner and to an outer header. */
interface ReferenceFlow {
  readonly service: ReferenceService;
  readonly hash: number;
  readonly ipLength: number;
  readonly trafficClass: number;
  readonly innerProtocol: number;
}

function decide(tables: Tables, packet: Uint8Array): DirectorOutcome {
  const { destination, etherType } = Ethernet.read(packet);
  if (!sameBytes(destination, tables.world.mac)) return leave("not_for_us", packet);
  const ip = packet.subarray(Ethernet.size);
  let flow: ReferenceFlow | DirectorReason = "not_ip";
  if (etherType === ETH_P_IP)
    flow = tables.families.has(4) ? parseIpv4(tables, ip) : "not_a_service";
  if (etherType === ETH_P_IPV6)
    flow = tables.families.has(6) ? parseIpv6(tables, ip) : "not_a_service";
  return typeof flow === "string" ? leave(flow, packet) : forward(tables.world, flow, packet);
}

/** Both ports must be there, and what follows them in the shortest transport header. */
const LEAST_TRANSPORT = 8;

function parseIpv4(tables: Tables, ip: Uint8Array): ReferenceFlow | DirectorReason {
  if (ip.length < Ipv4.size + LEAST_TRANSPORT) return "too_short";
  const header = Ipv4.read(ip);
  const destination = ip.subarray(Ipv4.offsets.destination, Ipv4.size);
  const headerLength = (header.versionIhl & 0xf) * 4;
  if (header.versionIhl >> 4 !== 4 || headerLength < Ipv4.size) return "not_a_service";
  if (headerLength > Ipv4.size) return tables.isVip(destination) ? "ip_options" : "not_a_service";
  if ((header.flagsFragment & (IP_MF | IP_OFFSET)) !== 0) {
    return tables.isVip(destination) ? "fragment" : "not_a_service";
  }
  const view = viewOf(ip);
  const service = tables.serviceOf(destination, header.protocol, view.getUint16(Ipv4.size + 2));
  if (service === undefined) return "not_a_service";
  const { totalLength } = header;
  if (totalLength < Ipv4.size + LEAST_TRANSPORT || totalLength > ip.length) return "malformed";
  const words = [12, 16, 20].map((at) => view.getUint32(at, true));
  return {
    service,
    hash: flowHash(tables.world.hashKey, [...words, header.protocol]),
    ipLength: totalLength,
    trafficClass: header.tos,
    innerProtocol: IPPROTO_IPIP,
  };
}

const EXTENSIONS: readonly number[] = [IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS];

function parseIpv6(tables: Tables, ip: Uint8Array): ReferenceFlow | DirectorReason {
  if (ip.length < Ipv6.size + LEAST_TRANSPORT) return "too_short";
  const { versionClassFlow, payloadLength, nextHeader, destination } = Ipv6.read(ip);
  const view = viewOf(ip);
  const service = tables.serviceOf(destination, nextHeader, view.getUint16(Ipv6.size + 2));
  if (service === undefined) {
    if (!tables.isVip(destination)) return "not_a_service";
    if (nextHeader === IPPROTO_FRAGMENT) return "fragment";
    return EXTENSIONS.includes(nextHeader) ? "ip_options" : "not_a_service";
  }
  if (versionClassFlow >>> 28 !== 6) return "malformed";
  if (payloadLength < LEAST_TRANSPORT || Ipv6.size + payloadLength > ip.length) return "malformed";
  const words = [8, 12, 16, 20, 24, 28, 32, 36, 40].map((at) => view.getUint32(at, true));
  return {
    service,
    hash: flowHash(tables.world.hashKey, [...words, nextHeader]),
    ipLength: Ipv6.size + payloadLength,
    trafficClass: (versionClassFlow >>> 20) & 0xff,
    innerProtocol: IPPROTO_IPV6,
  };
}

function forward(
  world: ReferenceDirector,
  flow: ReferenceFlow,
  packet: Uint8Array,
): DirectorOutcome {
  const { pool } = flow.service;
  const owner = pool.owners[flow.hash % pool.owners.length] ?? NO_OWNER;
  const member = pool.members[owner];
  if (owner === NO_OWNER || member === undefined) return leave("no_backend", packet);
  const { path } = member;
  if (path === null || path.nextHopMac === null) return leave("no_next_hop", packet);
  if (member.forwarding === ForwardingCode.none) return leave("internal", packet);
  const outer = outerHeader(member.forwarding, path.source, member.address, flow);
  const crosses = path.ifindex !== world.ifindex;
  if ((outer !== null || crosses) && flow.ipLength + (outer?.bytes.length ?? 0) > path.mtu) {
    return leave("too_big", packet);
  }
  const out = Uint8Array.of(
    ...path.nextHopMac,
    ...path.sourceMac,
    ...(outer === null ? packet.subarray(12, 14) : [outer.etherType >> 8, outer.etherType & 0xff]),
    ...(outer?.bytes ?? []),
    ...packet.subarray(Ethernet.size),
  );
  return {
    reason: "forwarded",
    verdict: crosses ? XDP_REDIRECT : XDP_TX,
    packet: out,
    counters: { service: flow.service.counter, member: pool.memberCounters + owner },
  };
}

function outerHeader(
  forwarding: ForwardingCode,
  source: IpAddress,
  destination: IpAddress,
  { ipLength, trafficClass, innerProtocol, hash }: ReferenceFlow,
): { readonly etherType: number; readonly bytes: Uint8Array } | null {
  switch (forwarding) {
    case ForwardingCode.ipipOverIpv4: {
      const bytes = Ipv4.encode({
        versionIhl: 0x45,
        tos: trafficClass,
        totalLength: ipLength + Ipv4.size,
        flagsFragment: IP_DF,
        ttl: 64,
        protocol: innerProtocol,
        source: viewOf(source.bytes).getUint32(0),
        destination: viewOf(destination.bytes).getUint32(0),
      });
      Ipv4.write(bytes, { checksum: internetChecksum(bytes) });
      return { etherType: ETH_P_IP, bytes };
    }
    case ForwardingCode.ipipOverIpv6: {
      const bytes = Ipv6.encode({
        versionClassFlow: ((6 << 28) | (trafficClass << 20) | (hash & 0xfffff)) >>> 0,
        payloadLength: ipLength,
        nextHeader: innerProtocol,
        hopLimit: 64,
        source: source.bytes,
        destination: destination.bytes,
      });
      return { etherType: ETH_P_IPV6, bytes };
    }
    default:
      return null;
  }
}

function leave(reason: DirectorReason, packet: Uint8Array): DirectorOutcome {
  const passes = directorReasons.some(({ name, fate }) => name === reason && fate === "passed");
  return {
    reason,
    verdict: passes ? XDP_PASS : XDP_DROP,
    packet: passes ? packet : null,
    counters: null,
  };
}

const serviceKey = (address: Uint8Array, protocol: number, port: number): string =>
  `${address.join(".")} ${protocol} ${port}`;

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.every((byte, index) => byte === b[index]);

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
