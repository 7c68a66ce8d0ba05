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
import { updateChecksum } from "../../packet/checksum.ts";
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
    const ecn = ECN_AFTER[inner.ecn]?.[outer.ecn];
    if (ecn === undefined) return leave("ecn_not_capable", packet);
    if (ecn !== inner.ecn) setEcn(decapsulated.subarray(Ethernet.size), inner.family, ecn);
    return { reason: "decapsulated", verdict: XDP_PASS, packet: decapsulated };
  };
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

interface Outer {
  readonly source: Uint8Array;
  /** Bytes of the outer header. */
  readonly size: number;
  /** Bytes of the outer packet, header and all. */
  readonly length: number;
  readonly innerFamily: 4 | 6;
  readonly ecn: number;
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
      const ecn = header.tos & 3;
      return { source, size: Ipv4.size, length: header.totalLength, innerFamily, ecn };
    }
    case ETH_P_IPV6: {
      if (ip.length < Ipv6.size) return "too_short";
      const header = Ipv6.read(ip);
      const innerFamily = innerFamilyOf(header.nextHeader);
      if (innerFamily === null || header.versionClassFlow >>> 28 !== 6) return "not_encapsulated";
      const length = Ipv6.size + header.payloadLength;
      const ecn = (header.versionClassFlow >>> 20) & 3;
      return { source: header.source, size: Ipv6.size, length, innerFamily, ecn };
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
  readonly ecn: number;
}

function parseInner(packet: Uint8Array, outer: Outer): Inner | "too_short" {
  const ip = packet.subarray(Ethernet.size + outer.size);
  if (outer.innerFamily === 4) {
    if (ip.length < Ipv4.size) return "too_short";
    const { versionIhl, tos, totalLength } = Ipv4.read(ip);
    const destination = ip.subarray(Ipv4.offsets.destination, Ipv4.size);
    const isSound = versionIhl >> 4 === 4 && totalLength >= Ipv4.size;
    return { family: 4, destination, length: totalLength, isSound, ecn: tos & 3 };
  }
  if (ip.length < Ipv6.size) return "too_short";
  const { versionClassFlow, payloadLength, destination } = Ipv6.read(ip);
  const isSound = versionClassFlow >>> 28 === 6;
  const ecn = (versionClassFlow >>> 20) & 3;
  return { family: 6, destination, length: Ipv6.size + payloadLength, isSound, ecn };
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
