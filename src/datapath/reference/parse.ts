/** The headers of a frame, as RFC 791, RFC 8200 and IEEE 802.1Q have them. */
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_MF,
  IP_OFFSET,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ROUTING,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import type { DirectorReason } from "../reasons.ts";
import { viewOf } from "./bytes.ts";

/** A packet that can be looked at; whether it is ours is another question. */
export interface Parsed {
  readonly family: 4 | 6;
  /** Bytes in front of the IP header: MACs, tags, EtherType. */
  readonly linkBytes: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  /** Bytes of the IP header, options and extension headers. */
  readonly headerBytes: number;
  /** Of the IP packet, as its header says. */
  readonly ipLength: number;
  readonly trafficClass: number;
  readonly hops: number;
  /** 0 for protocols without ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** What is wrong with it, if it turns out to be for a service of ours. */
  readonly problem: DirectorReason | null;
}

/** What keeps a packet from being parsed as far as that. */
export type Unparsed =
  | { readonly reason: DirectorReason }
  /** Counts as `ours` if some service has this address. */
  | { readonly vip: Uint8Array; readonly ours: DirectorReason };

/** Behind every header there must be this much in the frame. */
const LEAST_TRANSPORT = 8;
const EXTENSIONS_MAX = 4;
const TAGS: readonly number[] = [ETH_P_8021Q, ETH_P_8021AD];
const EXTENSIONS: readonly number[] = [IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS];

/** A frame of 14 bytes or more, addressed to us. */
export function parse(
  frame: Uint8Array,
  options: { readonly vlanTags: number; readonly families: ReadonlySet<4 | 6> },
): Parsed | Unparsed {
  const view = viewOf(frame);
  let linkBytes = Ethernet.size;
  let etherType = view.getUint16(12);
  for (let tags = 0; tags < options.vlanTags && TAGS.includes(etherType); tags += 1) {
    linkBytes += 4;
    if (frame.length < linkBytes) return { reason: "too_short" };
    etherType = view.getUint16(linkBytes - 2);
  }
  const ip = frame.subarray(linkBytes);
  switch (etherType) {
    case ETH_P_IP:
      return options.families.has(4) ? parseIpv4(ip, linkBytes) : { reason: "not_a_service" };
    case ETH_P_IPV6:
      return options.families.has(6) ? parseIpv6(ip, linkBytes) : { reason: "not_a_service" };
    default:
      return { reason: "not_ip" };
  }
}

function parseIpv4(ip: Uint8Array, linkBytes: number): Parsed | Unparsed {
  if (ip.length < Ipv4.size + LEAST_TRANSPORT) return { reason: "too_short" };
  const header = Ipv4.read(ip);
  const headerBytes = (header.versionIhl & 0xf) * 4;
  if (header.versionIhl >> 4 !== 4 || headerBytes < Ipv4.size) return { reason: "not_a_service" };
  const destination = ip.subarray(Ipv4.offsets.destination, Ipv4.size);
  if ((header.flagsFragment & (IP_MF | IP_OFFSET)) !== 0) {
    return { vip: destination, ours: "fragment" };
  }
  if (ip.length < headerBytes + LEAST_TRANSPORT) return { vip: destination, ours: "malformed" };
  return parsed(ip, {
    family: 4,
    linkBytes,
    source: ip.subarray(Ipv4.offsets.source, Ipv4.offsets.destination),
    destination,
    protocol: header.protocol,
    headerBytes,
    ipLength: header.totalLength,
    trafficClass: header.tos,
    hops: header.ttl,
  });
}

function parseIpv6(ip: Uint8Array, linkBytes: number): Parsed | Unparsed {
  if (ip.length < Ipv6.size + LEAST_TRANSPORT) return { reason: "too_short" };
  const { versionClassFlow, payloadLength, nextHeader, hopLimit, source, destination } =
    Ipv6.read(ip);
  let protocol = nextHeader;
  let headerBytes = Ipv6.size;
  for (let count = 0; EXTENSIONS.includes(protocol); count += 1) {
    if (count === EXTENSIONS_MAX) return { vip: destination, ours: "ip_options" };
    if (ip.length < headerBytes + LEAST_TRANSPORT) return { vip: destination, ours: "malformed" };
    protocol = ip[headerBytes] ?? 0;
    headerBytes += ((ip[headerBytes + 1] ?? 0) + 1) * 8;
  }
  if (protocol === IPPROTO_FRAGMENT) return { vip: destination, ours: "fragment" };
  if (ip.length < headerBytes + LEAST_TRANSPORT) return { vip: destination, ours: "malformed" };
  return parsed(
    ip,
    {
      family: 6,
      linkBytes,
      source,
      destination,
      protocol,
      headerBytes,
      ipLength: Ipv6.size + payloadLength,
      trafficClass: (versionClassFlow >>> 20) & 0xff,
      hops: hopLimit,
    },
    versionClassFlow >>> 28 === 6,
  );
}

function parsed(
  ip: Uint8Array,
  headers: Omit<Parsed, "sourcePort" | "destinationPort" | "problem">,
  isRightVersion = true,
): Parsed {
  const { protocol, headerBytes, ipLength } = headers;
  const hasPorts = protocol === IPPROTO_TCP || protocol === IPPROTO_UDP;
  const least = headerBytes + (hasPorts ? LEAST_TRANSPORT : 0);
  const isSound = isRightVersion && ipLength >= least && ipLength <= ip.length;
  const view = viewOf(ip);
  return {
    ...headers,
    sourcePort: hasPorts ? view.getUint16(headerBytes) : 0,
    destinationPort: hasPorts ? view.getUint16(headerBytes + 2) : 0,
    problem: isSound ? null : "malformed",
  };
}
