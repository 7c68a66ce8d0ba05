/** The agent as a pure function from a frame to what must become of it: see `director.ts` beside. */
import { XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import type { AgentConfig } from "../../model/model.ts";
import type { IpAddress } from "../../net/address.ts";
import { prefixContains } from "../../net/prefix.ts";
import { updateChecksum } from "../../packet/checksum.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_MF,
  IP_OFFSET,
  IPPROTO_GRE,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Udp,
  Vlan,
} from "../../packet/headers.ts";
import { agentReasons, type AgentReason } from "../reasons.ts";
import { restored } from "./restore.ts";

export interface ReferenceAgent
  extends Pick<AgentConfig, "vips" | "directors" | "tunnels" | "dscp"> {
  readonly vlanTags: number;
}

export interface AgentOutcome {
  readonly reason: AgentReason;
  readonly verdict: number;
  /** The frame afterwards; `null` when it is dropped. */
  readonly packet: Uint8Array | null;
}

/** A function that says what becomes of a frame of 14 bytes or more. */
export function referenceAgent(world: ReferenceAgent): (packet: Uint8Array) => AgentOutcome {
  const isVip = (address: IpAddress): boolean =>
    world.vips.some((vip) => prefixContains(vip, address));
  const isOfDirector = (address: IpAddress): boolean =>
    world.directors.some((director) => prefixContains(director, address));
  return (packet) => {
    const link = parseLink(packet, world.vlanTags);
    if (link === null) return leave("too_short", packet);
    const outer = parseOuter(packet.subarray(link.size), link.etherType, world.tunnels);
    if (typeof outer === "string") return leave(outer, packet);
    if (outer.kind === "plain") {
      const changed = restored(packet.subarray(link.size), outer.family, world.dscp);
      if (typeof changed === "string") return leave(changed, packet);
      const whole = packet.slice();
      whole.set(changed, link.size);
      return { reason: "restored", verdict: XDP_PASS, packet: whole };
    }
    const isDirector = isOfDirector(outer.source);
    if (outer.kind === "odd") return leave(isDirector ? "malformed" : "not_encapsulated", packet);
    const inner = parseInner(packet.subarray(link.size + outer.size), outer.innerFamily);
    if (inner === "too_short") return leave(inner, packet);
    if (!isVip(inner.destination)) return leave(isDirector ? "foreign_vip" : "not_a_vip", packet);
    if (!isDirector) return leave("stranger", packet);
    const fits =
      inner.isSound &&
      outer.size + inner.length <= outer.length &&
      link.size + outer.length <= packet.length;
    if (!fits) return leave("malformed", packet);
    if (inner.protocol === IPPROTO_IPIP || inner.protocol === IPPROTO_IPV6) {
      return leave("nested", packet);
    }
    const ecn = ECN_AFTER[inner.ecn]?.[outer.ecn];
    if (ecn === undefined) return leave("ecn_not_capable", packet);
    const decapsulated = packet.slice(outer.size);
    decapsulated.set(packet.subarray(0, link.size - 2));
    const etherType = inner.family === 4 ? ETH_P_IP : ETH_P_IPV6;
    decapsulated.set([etherType >> 8, etherType & 0xff], link.size - 2);
    if (ecn !== inner.ecn) setEcn(decapsulated.subarray(link.size), inner.family, ecn);
    return { reason: "decapsulated", verdict: XDP_PASS, packet: decapsulated };
  };
}

/** The Ethernet header and at most so many VLAN tags; `null` when the frame ends in one. */
function parseLink(
  packet: Uint8Array,
  vlanTags: number,
): { readonly size: number; readonly etherType: number } | null {
  let size = Ethernet.size;
  let { etherType } = Ethernet.read(packet);
  for (let tags = 0; tags < vlanTags; tags += 1) {
    if (etherType !== ETH_P_8021Q && etherType !== ETH_P_8021AD) break;
    if (packet.length < size + Vlan.size) return null;
    ({ etherType } = Vlan.read(packet, size));
    size += Vlan.size;
  }
  return { size, etherType };
}

/** RFC 6040 section 4.2, figure 4, with the codepoints as numbers: inner, then outer. */
const ECN_AFTER: readonly (readonly (number | undefined)[])[] = [
  [0, 0, 0, undefined],
  [1, 1, 1, 3],
  [2, 1, 2, 3],
  [3, 3, 3, 3],
];

function setEcn(ip: Uint8Array, family: 4 | 6, ecn: number): void {
  if (family === 6) {
    const { versionClassFlow } = Ipv6.read(ip);
    Ipv6.write(ip, { versionClassFlow: (versionClassFlow & ~(3 << 20)) | (ecn << 20) });
    return;
  }
  const before = ip.slice(0, 2);
  const { tos, checksum } = Ipv4.read(ip);
  Ipv4.write(ip, { tos: (tos & ~3) | ecn });
  Ipv4.write(ip, { checksum: updateChecksum(checksum, before, ip.subarray(0, 2)) });
}

type Outer =
  /** Nothing that tunnels are made of. */
  | { readonly kind: "plain"; readonly family: 4 | 6 }
  /** A tunnel of a form that directors do not send. */
  | { readonly kind: "odd"; readonly source: IpAddress }
  | {
      readonly kind: "tunnel";
      readonly source: IpAddress;
      /** Bytes in front of the inner packet. */
      readonly size: number;
      /** Bytes of the outer packet, header and all. */
      readonly length: number;
      readonly innerFamily: 4 | 6;
      readonly ecn: number;
    };

function parseOuter(
  ip: Uint8Array,
  etherType: number,
  ports: ReferenceAgent["tunnels"],
): Outer | AgentReason {
  switch (etherType) {
    case ETH_P_IP: {
      if (ip.length < Ipv4.size) return "too_short";
      const header = Ipv4.read(ip);
      const { protocol, totalLength, tos } = header;
      if (!tunnelProtocols.has(protocol)) return { kind: "plain", family: 4 };
      const isPlain =
        header.versionIhl === 0x45 && (header.flagsFragment & (IP_MF | IP_OFFSET)) === 0;
      if (!isPlain) return "not_encapsulated";
      const shim = parseShim(ip.subarray(Ipv4.size), protocol, ports);
      if (shim === "plain") return { kind: "plain", family: 4 };
      const source: IpAddress = { family: 4, bytes: ip.slice(12, 16) };
      if (shim === "odd") return { kind: "odd", source };
      if (shim === "too_short") return shim;
      const size = Ipv4.size + shim.size;
      return { kind: "tunnel", source, ...shim, size, length: totalLength, ecn: tos & 3 };
    }
    case ETH_P_IPV6: {
      if (ip.length < Ipv6.size) return "too_short";
      const { versionClassFlow, nextHeader, payloadLength, source: bytes } = Ipv6.read(ip);
      if (versionClassFlow >>> 28 !== 6) return "not_encapsulated";
      if (!tunnelProtocols.has(nextHeader)) return { kind: "plain", family: 6 };
      const shim = parseShim(ip.subarray(Ipv6.size), nextHeader, ports);
      if (shim === "plain") return { kind: "plain", family: 6 };
      const source: IpAddress = { family: 6, bytes: bytes.slice() };
      if (shim === "odd") return { kind: "odd", source };
      if (shim === "too_short") return shim;
      const ecn = (versionClassFlow >>> 20) & 3;
      const length = Ipv6.size + payloadLength;
      return { kind: "tunnel", source, ...shim, size: Ipv6.size + shim.size, length, ecn };
    }
    default:
      return "not_encapsulated";
  }
}

const tunnelProtocols = new Set([IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_GRE, IPPROTO_UDP]);

/** What lies between outer and inner IP header. */
function parseShim(
  payload: Uint8Array,
  protocol: number,
  { fouPort, fouPortIpv6, guePort }: ReferenceAgent["tunnels"],
): { readonly size: number; readonly innerFamily: 4 | 6 } | "plain" | "odd" | "too_short" {
  if (protocol === IPPROTO_IPIP) return { size: 0, innerFamily: 4 };
  if (protocol === IPPROTO_IPV6) return { size: 0, innerFamily: 6 };
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (protocol === IPPROTO_GRE) {
    if (payload.length < 4) return "too_short";
    // RFC 2784 section 2.1: flags and version, then the protocol type.
    if (view.getUint16(0) !== 0) return "odd";
    const type = view.getUint16(2);
    if (type === ETH_P_IP) return { size: 4, innerFamily: 4 };
    return type === ETH_P_IPV6 ? { size: 4, innerFamily: 6 } : "odd";
  }
  if (payload.length < Udp.size) return "too_short";
  const { destinationPort } = Udp.read(payload);
  if (destinationPort === fouPort) return { size: Udp.size, innerFamily: 4 };
  if (destinationPort === fouPortIpv6) return { size: Udp.size, innerFamily: 6 };
  if (destinationPort !== guePort) return "plain";
  if (payload.length < Udp.size + 4) return "too_short";
  // draft-ietf-intarea-gue section 3.1: version, C, length of extensions, protocol, flags.
  const [form, inside, flags] = [view.getUint8(8), view.getUint8(9), view.getUint16(10)];
  if (form !== 0 || flags !== 0) return "odd";
  if (inside === IPPROTO_IPIP) return { size: Udp.size + 4, innerFamily: 4 };
  return inside === IPPROTO_IPV6 ? { size: Udp.size + 4, innerFamily: 6 } : "odd";
}

interface Inner {
  readonly family: 4 | 6;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly length: number;
  readonly isSound: boolean;
  readonly ecn: number;
}

function parseInner(ip: Uint8Array, family: 4 | 6): Inner | "too_short" {
  if (family === 4) {
    if (ip.length < Ipv4.size) return "too_short";
    const { versionIhl, tos, totalLength, protocol } = Ipv4.read(ip);
    const destination: IpAddress = { family, bytes: ip.slice(16, 20) };
    const isSound = versionIhl >> 4 === 4 && totalLength >= Ipv4.size;
    return { family, destination, protocol, length: totalLength, isSound, ecn: tos & 3 };
  }
  if (ip.length < Ipv6.size) return "too_short";
  const { versionClassFlow, payloadLength, nextHeader, destination } = Ipv6.read(ip);
  return {
    family,
    destination: { family, bytes: destination.slice() },
    protocol: nextHeader,
    length: Ipv6.size + payloadLength,
    isSound: versionClassFlow >>> 28 === 6,
    ecn: (versionClassFlow >>> 20) & 3,
  };
}

function leave(reason: AgentReason, packet: Uint8Array): AgentOutcome {
  const passes = agentReasons.some(({ name, fate }) => name === reason && fate === "passed");
  return { reason, verdict: passes ? XDP_PASS : XDP_DROP, packet: passes ? packet : null };
}
