/** What a member does to a packet, from the IP header on. */
import {
  internetChecksum,
  onesSum,
  pseudoHeaderSum,
  updateChecksum,
} from "../../packet/checksum.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  IP_DF,
  IPPROTO_GRE,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Tcp,
  Udp,
} from "../../packet/headers.ts";
import { ForwardingCode } from "../layout.ts";
import { be16, be32, concat, viewOf } from "./bytes.ts";
import type { Parsed } from "./parse.ts";
import type { ReferenceMember, ReferenceWorld } from "./world.ts";

type Kind = "l2" | "dscp" | "ipip" | "gre" | "fou" | "gue";

/** How a code is forwarded, and the family of the outer header of a tunnel. */
export function kindOf(
  code: ForwardingCode,
): { readonly kind: Kind; readonly outer: 4 | 6 } | null {
  const [name] = Object.entries(ForwardingCode).find(([, other]) => other === code) ?? ["none"];
  if (name === "none") return null;
  if (name === "l2" || name === "dscp") return { kind: name, outer: 4 };
  const [kind, outer] = name.split("OverIpv");
  return { kind: kind as Kind, outer: outer === "4" ? 4 : 6 };
}

/** Bytes of all headers that a tunnel puts in front. */
export function addedBytes({
  kind,
  outer,
}: {
  readonly kind: Kind;
  readonly outer: 4 | 6;
}): number {
  const between: Readonly<Partial<Record<Kind, number>>> = { ipip: 0, gre: 4, fou: 8, gue: 12 };
  const shim = between[kind];
  return shim === undefined ? 0 : shim + (outer === 4 ? Ipv4.size : Ipv6.size);
}

/** The IP packet with one hop less to go. `ip` is all that follows the Ethernet header. */
export function hopTaken(ip: Uint8Array, { family, hops }: Parsed): Uint8Array {
  const out = ip.slice();
  if (family === 6) {
    Ipv6.write(out, { hopLimit: hops - 1 });
    return out;
  }
  const at = Ipv4.offsets.ttl;
  const before = ip.slice(at, at + 2);
  Ipv4.write(out, { ttl: hops - 1 });
  const { checksum } = Ipv4.read(ip);
  Ipv4.write(out, { checksum: updateChecksum(checksum, before, out.slice(at, at + 2)) });
  return out;
}

/** The outer headers in front of `inner`, and their EtherType. */
export function encapsulated(
  world: ReferenceWorld,
  member: ReferenceMember,
  { kind, outer }: { readonly kind: Kind; readonly outer: 4 | 6 },
  flow: { readonly packet: Parsed; readonly hash: number; readonly inner: Uint8Array },
): { readonly etherType: number; readonly ip: Uint8Array } {
  const { packet, hash, inner } = flow;
  const insideProtocol = packet.family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
  const source = outerSource(world, member, outer, hash);
  const destination = member.address.bytes;
  let protocol = insideProtocol;
  let shim: Uint8Array = new Uint8Array();
  if (kind === "gre") {
    protocol = IPPROTO_GRE;
    shim = concat(be16(0), be16(packet.family === 4 ? ETH_P_IP : ETH_P_IPV6));
  } else if (kind === "fou" || kind === "gue") {
    protocol = IPPROTO_UDP;
    const { fouPort, fouPortIpv6, guePort, udpChecksum } = world.tunnels;
    const fou = packet.family === 4 ? fouPort : fouPortIpv6;
    const gue = kind === "gue" ? Uint8Array.of(0, insideProtocol, 0, 0) : new Uint8Array();
    const length = Udp.size + gue.length + packet.ipLength;
    const udp = Udp.encode({
      sourcePort: 49_152 + (hash >>> 18),
      destinationPort: kind === "gue" ? guePort : fou,
      length,
    });
    shim = concat(udp, gue);
    const remainder = udpChecksum ? innerRemainder(packet, inner) : null;
    if (remainder !== null) {
      const pseudo = pseudoHeaderSum(source, destination, IPPROTO_UDP, length);
      const sum = onesSum(shim, onesSum(remainder, pseudo));
      Udp.write(shim, { checksum: ~sum & 0xffff || 0xffff });
    }
  }
  const payloadLength = shim.length + packet.ipLength;
  const header =
    outer === 4
      ? Ipv4.encode({
          versionIhl: 0x45,
          tos: packet.trafficClass,
          totalLength: Ipv4.size + payloadLength,
          flagsFragment: IP_DF,
          ttl: 64,
          protocol,
          source: viewOf(source).getUint32(0),
          destination: viewOf(destination).getUint32(0),
        })
      : Ipv6.encode({
          versionClassFlow: ((6 << 28) | (packet.trafficClass << 20) | (hash & 0xfffff)) >>> 0,
          payloadLength,
          nextHeader: protocol,
          hopLimit: 64,
          source,
          destination,
        });
  if (outer === 4) Ipv4.write(header, { checksum: internetChecksum(header) });
  return { etherType: outer === 4 ? ETH_P_IP : ETH_P_IPV6, ip: concat(header, shim, inner) };
}

/** The director's own address, or one of a prefix: its host bits are those of the hash. */
function outerSource(
  { outerSources }: ReferenceWorld,
  { path }: ReferenceMember,
  family: 4 | 6,
  hash: number,
): Uint8Array {
  const prefix = family === 4 ? outerSources.ipv4 : outerSources.ipv6;
  if (prefix === null) return path?.source.bytes ?? new Uint8Array();
  const bytes = prefix.address.bytes.slice();
  const hostBits = Math.min(32, bytes.length * 8 - prefix.length);
  const host = hostBits === 32 ? hash : hash & (2 ** hostBits - 1);
  const last = viewOf(bytes).getUint32(bytes.length - 4);
  bytes.set(be32((last | host) >>> 0), bytes.length - 4);
  return bytes;
}

/**
 * What the inner packet adds to a checksum around it, if its own checksum is taken to be right: words
 * of the same sum. `null` for what has none.
 */
function innerRemainder(packet: Parsed, inner: Uint8Array): Uint8Array | null {
  const { family, protocol, headerBytes, ipLength } = packet;
  const isUdp = protocol === IPPROTO_UDP;
  if (protocol !== IPPROTO_TCP && !isUdp) return null;
  if (family === 6 && headerBytes !== Ipv6.size) return null;
  const transport = inner.subarray(headerBytes);
  if (isUdp && Udp.read(transport).checksum === 0) return null;
  // With a right checksum the transport sums to the complement of its pseudo header.
  const pseudo = pseudoHeaderSum(
    packet.source,
    packet.destination,
    protocol,
    ipLength - headerBytes,
  );
  const complement = be16(~onesSum(new Uint8Array(), pseudo) & 0xffff);
  // And an IPv4 header with a right one to nothing.
  return family === 4 ? complement : concat(inner.subarray(0, Ipv6.size), complement);
}

/** The packet readdressed to a `dscp` member. */
export function readdressed(
  ip: Uint8Array,
  packet: Parsed,
  { address, codePoints }: ReferenceMember,
): Uint8Array {
  const out = hopTaken(ip, packet);
  const code =
    codePoints.findIndex(({ bytes }) => Buffer.compare(bytes, packet.destination) === 0) + 1;
  const trafficClass = (code << 2) | (packet.trafficClass & 3);
  if (packet.family === 4) {
    const { checksum } = Ipv4.read(out);
    const before = out.slice(0, Ipv4.size);
    Ipv4.write(out, { tos: trafficClass, destination: viewOf(address.bytes).getUint32(0) });
    // The checksum's own word is the same in both and cancels out.
    Ipv4.write(out, { checksum: updateChecksum(checksum, before, out.slice(0, Ipv4.size)) });
  } else {
    const { versionClassFlow } = Ipv6.read(out);
    const rest = versionClassFlow & ~(0xff << 20);
    Ipv6.write(out, {
      versionClassFlow: (rest | (trafficClass << 20)) >>> 0,
      destination: address.bytes,
    });
  }
  const transport = out.subarray(packet.headerBytes);
  if (packet.protocol === IPPROTO_TCP) {
    const { checksum } = Tcp.read(transport);
    Tcp.write(transport, { checksum: updateChecksum(checksum, packet.destination, address.bytes) });
  }
  if (packet.protocol === IPPROTO_UDP) {
    const { checksum } = Udp.read(transport);
    if (checksum !== 0) {
      const updated = updateChecksum(checksum, packet.destination, address.bytes);
      Udp.write(transport, { checksum: updated === 0 ? 0xffff : updated });
    }
  }
  return out;
}
