/**
 * Any bytes to layers, and what is wrong with them. Never throws: what does not parse is payload.
 * Standards: RFC 791, 8200 (with extension headers), 9293, 768, 792, 4443, IEEE 802.1Q; IP in IP of
 * all four kinds (RFC 2003, 2473, 4213); the packet an ICMP error quotes.
 */
import { internetChecksum, pseudoHeaderSum } from "./checksum.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  type EthernetHeader,
  ICMP_DEST_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_TIME_EXCEEDED,
  Icmp,
  type IcmpHeader,
  IP6_MF,
  IP6_OFFSET,
  IP_MF,
  IP_OFFSET,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_ROUTING,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  type Ipv4Header,
  Ipv6,
  Ipv6Extension,
  Ipv6Fragment,
  type Ipv6FragmentHeader,
  type Ipv6Header,
  Tcp,
  type TcpHeader,
  Udp,
  type UdpHeader,
  Vlan,
  type VlanHeader,
} from "./headers.ts";

export type Layer =
  | { readonly kind: "ethernet"; readonly header: EthernetHeader }
  | { readonly kind: "vlan"; readonly header: VlanHeader }
  | { readonly kind: "ipv4"; readonly header: Ipv4Header; readonly options: Uint8Array }
  | { readonly kind: "ipv6"; readonly header: Ipv6Header }
  | { readonly kind: "extension"; readonly protocol: number; readonly sizeBytes: number }
  | { readonly kind: "fragment"; readonly header: Ipv6FragmentHeader }
  | { readonly kind: "tcp"; readonly header: TcpHeader; readonly options: Uint8Array }
  | { readonly kind: "udp"; readonly header: UdpHeader }
  | { readonly kind: "icmp" | "icmpv6"; readonly header: IcmpHeader }
  /** Bytes no layer claims: data, or what could not be parsed. */
  | { readonly kind: "payload"; readonly bytes: Uint8Array }
  /** Bytes of the frame after the end of its IP packet: padding. */
  | { readonly kind: "trailer"; readonly bytes: Uint8Array };

export interface Decoded {
  /** From the outside in. */
  readonly layers: readonly Layer[];
  /** Wrong checksums and lengths, one sentence each. */
  readonly problems: readonly string[];
}

/** Decodes `packet`, an Ethernet frame without FCS, or an IP packet when `from` says so. */
export function decode(packet: Uint8Array, from: "ethernet" | "ip" = "ethernet"): Decoded {
  const found: Found = { layers: [], problems: [], isQuoted: false };
  if (from === "ethernet") decodeEthernet(found, packet);
  else decodeByVersion(found, packet);
  return found;
}

/** What is wrong with `packet`: wrong checksums, lengths that do not fit, headers cut short. */
export const problemsOf = (packet: Uint8Array, from?: "ethernet" | "ip"): readonly string[] =>
  decode(packet, from).problems;

interface Found {
  readonly layers: Layer[];
  readonly problems: string[];
  /** Inside an ICMP error: cut short by right, so lengths and sums of what follows prove nothing. */
  isQuoted: boolean;
}

/** What a transport checksum needs to know; `isWhole` is false for a fragment. */
interface Network {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly isWhole: boolean;
}

function decodeEthernet(found: Found, packet: Uint8Array): void {
  if (!fits(found, "Ethernet", packet, Ethernet.size)) return;
  const header = Ethernet.read(packet);
  found.layers.push({ kind: "ethernet", header });
  let { etherType } = header;
  let rest = packet.subarray(Ethernet.size);
  while (etherType === ETH_P_8021Q || etherType === ETH_P_8021AD) {
    if (!fits(found, "VLAN", rest, Vlan.size)) return;
    const tag = Vlan.read(rest);
    found.layers.push({ kind: "vlan", header: tag });
    etherType = tag.etherType;
    rest = rest.subarray(Vlan.size);
  }
  if (etherType === ETH_P_IP) decodeIpv4(found, rest);
  else if (etherType === ETH_P_IPV6) decodeIpv6(found, rest);
  else payload(found, rest);
}

function decodeByVersion(found: Found, packet: Uint8Array): void {
  const version = (packet[0] ?? 0) >> 4;
  if (version === 4) decodeIpv4(found, packet);
  else if (version === 6) decodeIpv6(found, packet);
  else payload(found, packet);
}

function decodeIpv4(found: Found, packet: Uint8Array): void {
  if (!fits(found, "IPv4", packet, Ipv4.size)) return;
  const header = Ipv4.read(packet);
  const size = (header.versionIhl & 0xf) * 4;
  if (header.versionIhl >> 4 !== 4 || size < Ipv4.size) {
    found.problems.push(`IPv4 version and header length are 0x${header.versionIhl.toString(16)}`);
    return payload(found, packet);
  }
  if (!fits(found, "IPv4", packet, size)) return;
  found.layers.push({ kind: "ipv4", header, options: packet.subarray(Ipv4.size, size) });
  verify(found, "IPv4 header", header.checksum, packet.subarray(0, size), Ipv4.offsets.checksum, 0);

  const fragment = header.flagsFragment;
  const inside = within(found, "IPv4 total length", packet, header.totalLength, size);
  const network = {
    source: packet.subarray(Ipv4.offsets.source, Ipv4.offsets.destination),
    destination: packet.subarray(Ipv4.offsets.destination, Ipv4.size),
    isWhole: inside.isComplete && (fragment & (IP_MF | IP_OFFSET)) === 0,
  };
  if ((fragment & IP_OFFSET) !== 0) payload(found, inside.bytes);
  else decodeProtocol(found, header.protocol, inside.bytes, network);
  if (inside.after.length > 0) found.layers.push({ kind: "trailer", bytes: inside.after });
}

function decodeIpv6(found: Found, packet: Uint8Array): void {
  if (!fits(found, "IPv6", packet, Ipv6.size)) return;
  const header = Ipv6.read(packet);
  const version = header.versionClassFlow >>> 28;
  if (version !== 6) {
    found.problems.push(`IPv6 version is ${version}`);
    return payload(found, packet);
  }
  found.layers.push({ kind: "ipv6", header });
  const end = Ipv6.size + header.payloadLength;
  const inside = within(found, "IPv6 payload length", packet, end, Ipv6.size);
  decodeIpv6Payload(found, header, inside);
  if (inside.after.length > 0) found.layers.push({ kind: "trailer", bytes: inside.after });
}

function decodeIpv6Payload(found: Found, header: Ipv6Header, inside: Inside): void {
  let { nextHeader: protocol } = header;
  let rest = inside.bytes;
  let isWhole = inside.isComplete;
  for (;;) {
    if (protocol === IPPROTO_FRAGMENT) {
      if (!fits(found, "IPv6 fragment", rest, Ipv6Fragment.size)) return;
      const fragment = Ipv6Fragment.read(rest);
      found.layers.push({ kind: "fragment", header: fragment });
      rest = rest.subarray(Ipv6Fragment.size);
      if ((fragment.offsetFlags & IP6_OFFSET) !== 0) return payload(found, rest);
      // An atomic fragment (RFC 6946) is a whole packet.
      isWhole &&= (fragment.offsetFlags & IP6_MF) === 0;
      protocol = fragment.nextHeader;
    } else if (
      protocol === IPPROTO_HOPOPTS ||
      protocol === IPPROTO_ROUTING ||
      protocol === IPPROTO_DSTOPTS
    ) {
      if (!fits(found, "IPv6 extension", rest, Ipv6Extension.size)) return;
      const { nextHeader, length } = Ipv6Extension.read(rest);
      const sizeBytes = (length + 1) * 8;
      if (!fits(found, "IPv6 extension", rest, sizeBytes)) return;
      found.layers.push({ kind: "extension", protocol, sizeBytes });
      rest = rest.subarray(sizeBytes);
      protocol = nextHeader;
    } else {
      return decodeProtocol(found, protocol, rest, { ...header, isWhole });
    }
  }
}

function decodeProtocol(found: Found, protocol: number, bytes: Uint8Array, network: Network): void {
  switch (protocol) {
    case IPPROTO_IPIP:
      return decodeIpv4(found, bytes);
    case IPPROTO_IPV6:
      return decodeIpv6(found, bytes);
    case IPPROTO_TCP:
      return decodeTcp(found, bytes, network);
    case IPPROTO_UDP:
      return decodeUdp(found, bytes, network);
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return decodeIcmp(found, protocol, bytes, network);
    default:
      return payload(found, bytes);
  }
}

function decodeTcp(found: Found, bytes: Uint8Array, network: Network): void {
  if (!fits(found, "TCP", bytes, Tcp.size)) return;
  const header = Tcp.read(bytes);
  const size = (header.dataOffset >> 4) * 4;
  if (size < Tcp.size) {
    found.problems.push(`TCP header length is ${size} bytes, the least is ${Tcp.size}`);
    return payload(found, bytes);
  }
  if (!fits(found, "TCP", bytes, size)) return;
  found.layers.push({ kind: "tcp", header, options: bytes.subarray(Tcp.size, size) });
  if (network.isWhole) {
    const sum = pseudoHeaderSum(network.source, network.destination, IPPROTO_TCP, bytes.length);
    verify(found, "TCP", header.checksum, bytes, Tcp.offsets.checksum, sum);
  }
  payload(found, bytes.subarray(size));
}

function decodeUdp(found: Found, bytes: Uint8Array, network: Network): void {
  if (!fits(found, "UDP", bytes, Udp.size)) return;
  const header = Udp.read(bytes);
  found.layers.push({ kind: "udp", header });
  if (network.isWhole) {
    const { length, checksum } = header;
    if (length !== bytes.length) {
      found.problems.push(`UDP length is ${length}, the IP packet carries ${bytes.length} bytes`);
    } else if (checksum === 0 && network.source.length === 16) {
      // RFC 8200 §8.1; RFC 6935 lets tunnels do it that say so.
      found.problems.push("UDP over IPv6 has no checksum");
    } else if (checksum !== 0) {
      const sum = pseudoHeaderSum(network.source, network.destination, IPPROTO_UDP, length);
      verify(found, "UDP", checksum, bytes, Udp.offsets.checksum, sum);
    }
  }
  payload(found, bytes.subarray(Udp.size));
}

function decodeIcmp(found: Found, protocol: number, bytes: Uint8Array, network: Network): void {
  const isV6 = protocol === IPPROTO_ICMPV6;
  const name = isV6 ? "ICMPv6" : "ICMP";
  if (!fits(found, name, bytes, Icmp.size)) return;
  const header = Icmp.read(bytes);
  found.layers.push({ kind: isV6 ? "icmpv6" : "icmp", header });
  if (network.isWhole) {
    const { source, destination } = network;
    const sum = isV6 ? pseudoHeaderSum(source, destination, protocol, bytes.length) : 0;
    verify(found, name, header.checksum, bytes, Icmp.offsets.checksum, sum);
  }
  const rest = bytes.subarray(Icmp.size);
  if (!(isV6 ? header.type < 128 : icmpErrors.includes(header.type))) return payload(found, rest);
  found.isQuoted = true;
  decodeByVersion(found, rest);
}

/** RFC 4443 §2.1: ICMPv6 errors are those below 128. ICMP has no such rule. */
const icmpErrors: readonly number[] = [ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB];

interface Inside {
  readonly bytes: Uint8Array;
  readonly after: Uint8Array;
  readonly isComplete: boolean;
}

/** The part of `packet` from `start` to where its header says it ends, as far as there is one. */
function within(
  found: Found,
  name: string,
  packet: Uint8Array,
  end: number,
  start: number,
): Inside {
  const isComplete = end >= start && end <= packet.length && !found.isQuoted;
  if (!isComplete && !found.isQuoted) {
    const excess = end < start ? `${start} bytes of header` : `a packet of ${packet.length} bytes`;
    found.problems.push(`${name} makes ${end} bytes, in ${excess}`);
  }
  const stop = Math.max(start, end);
  return { bytes: packet.subarray(start, stop), after: packet.subarray(stop), isComplete };
}

/** Whether `bytes` holds a header of `size`; else it is payload, and a problem. */
function fits(found: Found, name: string, bytes: Uint8Array, size: number): boolean {
  if (bytes.length >= size) return true;
  if (!found.isQuoted) {
    found.problems.push(`${name} header is cut short: ${bytes.length} of ${size} bytes`);
  }
  payload(found, bytes);
  return false;
}

function verify(
  found: Found,
  name: string,
  checksum: number,
  covered: Uint8Array,
  at: number,
  initial: number,
): void {
  const cleared = covered.slice();
  cleared.fill(0, at, at + 2);
  const right = internetChecksum(cleared, initial);
  // Zero and ffff are the same number in one's complement; UDP sends the latter (RFC 768).
  if (right % 0xffff === checksum % 0xffff) return;
  found.problems.push(`${name} checksum is 0x${hex16(checksum)}, should be 0x${hex16(right)}`);
}

const hex16 = (value: number): string => value.toString(16).padStart(4, "0");

function payload(found: Found, bytes: Uint8Array): void {
  if (bytes.length > 0) found.layers.push({ kind: "payload", bytes });
}
