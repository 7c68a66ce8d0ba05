/**
 * Headers as they lie on the wire. The programs, the packet builder and the decoder all read and
 * write these very structs. Constants keep the spelling of the header files under include/uapi/linux
 * (if_ether.h, in.h, ip.h, in6.h, icmp.h, icmpv6.h).
 */
import { be16, be32, bytes, type RecordOf, struct, u8 } from "../bpf/layout.ts";

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021AD = 0x88a8;

export const IPPROTO_HOPOPTS = 0;
export const IPPROTO_ICMP = 1;
export const IPPROTO_IPIP = 4;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_ROUTING = 43;
export const IPPROTO_FRAGMENT = 44;
export const IPPROTO_GRE = 47;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_DSTOPTS = 60;

/** Bits of `Ipv4.flagsFragment`; the low 13 are the offset in units of 8 bytes (RFC 791 §3.1). */
export const IP_DF = 0x4000;
export const IP_MF = 0x2000;
export const IP_OFFSET = 0x1fff;

/** The low two bits of `Ipv4.tos` and of the traffic class (RFC 3168 §5, include/net/inet_ecn.h). */
export const INET_ECN_MASK = 3;
export const INET_ECN_ECT_1 = 1;
export const INET_ECN_ECT_0 = 2;
export const INET_ECN_CE = 3;

/** Bits of `Ipv6Fragment.offsetFlags`: the offset in bytes lies in the upper 13 (RFC 8200 §4.5). */
export const IP6_MF = 0x0001;
export const IP6_OFFSET = 0xfff8;

export const ICMP_ECHOREPLY = 0;
export const ICMP_DEST_UNREACH = 3;
export const ICMP_ECHO = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETERPROB = 12;
/** Code of ICMP_DEST_UNREACH; the low 16 bits of `Icmp.rest` are the next hop's MTU (RFC 1191 §4). */
export const ICMP_FRAG_NEEDED = 4;

export const ICMPV6_DEST_UNREACH = 1;
/** `Icmp.rest` is the MTU (RFC 4443 §3.2). */
export const ICMPV6_PKT_TOOBIG = 2;
export const ICMPV6_TIME_EXCEED = 3;
export const ICMPV6_PARAMPROB = 4;
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;

/** Bits of `Tcp.flags` (RFC 9293 §3.1), by the letters tcpdump prints. */
export const TcpFlag = { F: 1, S: 2, R: 4, P: 8, A: 16, U: 32, E: 64, C: 128 } as const;

export const Ethernet = struct(
  "ethernet",
  { destination: bytes(6), source: bytes(6), etherType: be16 },
  { packed: true, size: 14 },
);

/** What follows the EtherType ETH_P_8021Q or ETH_P_8021AD: PCP (3 bits), DEI (1), VLAN id (12). */
export const Vlan = struct("vlan", { control: be16, etherType: be16 }, { packed: true, size: 4 });

/** RFC 791 §3.1. `versionIhl`: version in the upper four bits, header length in 32-bit words below. */
export const Ipv4 = struct(
  "ipv4",
  {
    versionIhl: u8,
    tos: u8,
    totalLength: be16,
    identification: be16,
    flagsFragment: be16,
    ttl: u8,
    protocol: u8,
    checksum: be16,
    source: be32,
    destination: be32,
  },
  { packed: true, size: 20 },
);

/** RFC 8200 §3. `versionClassFlow`: version (4 bits), traffic class (8), flow label (20). */
export const Ipv6 = struct(
  "ipv6",
  {
    versionClassFlow: be32,
    payloadLength: be16,
    nextHeader: u8,
    hopLimit: u8,
    source: bytes(16),
    destination: bytes(16),
  },
  { packed: true, size: 40 },
);

/** The start of hop-by-hop, routing and destination options; `length` in units of 8 bytes beyond the first 8. */
export const Ipv6Extension = struct(
  "ipv6_extension",
  { nextHeader: u8, length: u8 },
  { packed: true, size: 2 },
);

/** RFC 8200 §4.5. */
export const Ipv6Fragment = struct(
  "ipv6_fragment",
  { nextHeader: u8, reserved: u8, offsetFlags: be16, identification: be32 },
  { packed: true, size: 8 },
);

/** RFC 9293 §3.1. `dataOffset`: header length in 32-bit words in the upper four bits. */
export const Tcp = struct(
  "tcp",
  {
    sourcePort: be16,
    destinationPort: be16,
    sequence: be32,
    acknowledgement: be32,
    dataOffset: u8,
    flags: u8,
    window: be16,
    checksum: be16,
    urgentPointer: be16,
  },
  { packed: true, size: 20 },
);

/** RFC 768. */
export const Udp = struct(
  "udp",
  { sourcePort: be16, destinationPort: be16, length: be16, checksum: be16 },
  { packed: true, size: 8 },
);

/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443) alike. `rest` is identifier and sequence number of an echo
 * (16 bits each), the MTU of "too big", and otherwise unused.
 */
export const Icmp = struct(
  "icmp",
  { type: u8, code: u8, checksum: be16, rest: be32 },
  { packed: true, size: 8 },
);

export type EthernetHeader = RecordOf<typeof Ethernet.fields>;
export type VlanHeader = RecordOf<typeof Vlan.fields>;
export type Ipv4Header = RecordOf<typeof Ipv4.fields>;
export type Ipv6Header = RecordOf<typeof Ipv6.fields>;
export type Ipv6FragmentHeader = RecordOf<typeof Ipv6Fragment.fields>;
export type TcpHeader = RecordOf<typeof Tcp.fields>;
export type UdpHeader = RecordOf<typeof Udp.fields>;
export type IcmpHeader = RecordOf<typeof Icmp.fields>;
