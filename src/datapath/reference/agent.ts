/** The agent as a pure function from a frame to what must become of it: see `director.ts` beside. */
import { XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import type { IpAddress } from "../../net/address.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_MF,
  IP_OFFSET,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import { agentReasons, type AgentReason } from "../reasons.ts";

export interface ReferenceAgent {
  readonly vips: readonly IpAddress[];
  readonly directors: readonly IpAddress[];
}

export interface AgentOutcome {
  readonly reason: AgentReason;
  readonly verdict: number;
  /** The frame afterwards; `null` when it is dropped. */
  readonly packet: Uint8Array | null;
}

/** A function that says what becomes of a frame of 14 bytes or more. */
export function referenceAgent(world: ReferenceAgent): (packet: Uint8Array) => AgentOutcome {
  const sets = { vips: textSet(world.vips), directors: textSet(world.directors) };
  return (packet) => {
    const outer = parseOuter(packet);
    if (typeof outer === "string") return leave(outer, packet);
    const inner = parseInner(packet, outer);
    if (inner === "too_short") return leave(inner, packet);
    const isVip = sets.vips.has(ipText(inner.destination));
    const isDirector = sets.directors.has(ipText(outer.source));
    if (!isVip) return leave(isDirector ? "foreign_vip" : "not_a_vip", packet);
    if (!isDirector) return leave("stranger", packet);
    const fits =
      inner.isSound &&
      outer.size + inner.length <= outer.length &&
      Ethernet.size + outer.length <= packet.length;
    if (!fits) return leave("malformed", packet);
    const decapsulated = packet.slice(outer.size);
    decapsulated.set(packet.subarray(0, 12));
    Ethernet.write(decapsulated, { etherType: inner.family === 4 ? ETH_P_IP : ETH_P_IPV6 });
    return { reason: "decapsulated", verdict: XDP_PASS, packet: decapsulated };
  };
}

interface Outer {
  readonly source: Uint8Array;
  /** Bytes of the outer header. */
  readonly size: number;
  /** Bytes of the outer packet, header and all. */
  readonly length: number;
  readonly innerFamily: 4 | 6;
}

function parseOuter(packet: Uint8Array): Outer | AgentReason {
  const ip = packet.subarray(Ethernet.size);
  switch (Ethernet.read(packet).etherType) {
    case ETH_P_IP: {
      if (ip.length < Ipv4.size) return "too_short";
      const header = Ipv4.read(ip);
      const innerFamily = innerFamilyOf(header.protocol);
      const isPlain =
        header.versionIhl === 0x45 && (header.flagsFragment & (IP_MF | IP_OFFSET)) === 0;
      if (innerFamily === null || !isPlain) return "not_encapsulated";
      const source = ip.subarray(Ipv4.offsets.source, Ipv4.offsets.destination);
      return { source, size: Ipv4.size, length: header.totalLength, innerFamily };
    }
    case ETH_P_IPV6: {
      if (ip.length < Ipv6.size) return "too_short";
      const header = Ipv6.read(ip);
      const innerFamily = innerFamilyOf(header.nextHeader);
      if (innerFamily === null || header.versionClassFlow >>> 28 !== 6) return "not_encapsulated";
      const length = Ipv6.size + header.payloadLength;
      return { source: header.source, size: Ipv6.size, length, innerFamily };
    }
    default:
      return "not_encapsulated";
  }
}

interface Inner {
  readonly family: 4 | 6;
  readonly destination: Uint8Array;
  readonly length: number;
  readonly isSound: boolean;
}

function parseInner(packet: Uint8Array, outer: Outer): Inner | "too_short" {
  const ip = packet.subarray(Ethernet.size + outer.size);
  if (outer.innerFamily === 4) {
    if (ip.length < Ipv4.size) return "too_short";
    const { versionIhl, totalLength } = Ipv4.read(ip);
    const destination = ip.subarray(Ipv4.offsets.destination, Ipv4.size);
    const isSound = versionIhl >> 4 === 4 && totalLength >= Ipv4.size;
    return { family: 4, destination, length: totalLength, isSound };
  }
  if (ip.length < Ipv6.size) return "too_short";
  const { versionClassFlow, payloadLength, destination } = Ipv6.read(ip);
  const isSound = versionClassFlow >>> 28 === 6;
  return { family: 6, destination, length: Ipv6.size + payloadLength, isSound };
}

function innerFamilyOf(protocol: number): 4 | 6 | null {
  if (protocol === IPPROTO_IPIP) return 4;
  return protocol === IPPROTO_IPV6 ? 6 : null;
}

function leave(reason: AgentReason, packet: Uint8Array): AgentOutcome {
  const passes = agentReasons.some(({ name, fate }) => name === reason && fate === "passed");
  return {
    reason,
    verdict: passes ? XDP_PASS : XDP_DROP,
    packet: passes ? packet : null,
  };
}

const ipText = (bytes: Uint8Array): string => bytes.join(".");

const textSet = (addresses: readonly IpAddress[]): ReadonlySet<string> =>
  new Set(addresses.map(({ bytes }) => ipText(bytes)));
