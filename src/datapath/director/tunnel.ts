/**
 * Outer headers: IPv4 or IPv6 around either family, and between them nothing (`ipip`: RFC 2003, RFC
 * 4213, RFC 2473), GRE (RFC 2784), UDP (`fou`) or UDP and GUE variant 0 (draft-ietf-intarea-gue).
 * DSCP and ECN are the inner packet's (RFC 2983 §3.1 uniform model, RFC 6040 §4.1 normal mode).
 */
import type { Scalar, Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  IP_DF,
  IPPROTO_GRE,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Udp,
} from "../../packet/headers.ts";
import type { Chosen, Director, Flow } from "./context.ts";
import { emitPush } from "./frame.ts";
import { emitHop, emitRequireHop } from "./hop-limit.ts";
import { emitOuterSource } from "./outer-source.ts";
import { emitInnerSum, emitUdpChecksum } from "./udp-checksum.ts";

export type TunnelKind = "ipip" | "gre" | "fou" | "gue";

/** Outer headers start with this TTL or hop limit (RFC 1700's default, Linux's too). */
export const OUTER_TTL = 64;

/** Bytes between outer and inner IP header. */
const shimBytes: Readonly<Record<TunnelKind, number>> = { ipip: 0, gre: 4, fou: 8, gue: 12 };

const innerProtocol = (family: 4 | 6): number => (family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6);

/** The protocol of the outer header. */
export function outerProtocol(kind: TunnelKind, innerFamily: 4 | 6): number {
  if (kind === "ipip") return innerProtocol(innerFamily);
  return kind === "gre" ? IPPROTO_GRE : IPPROTO_UDP;
}

/** Puts the outer headers in front; the packet is then ready to leave. */
export function emitEncapsulate(
  director: Director,
  flow: Flow,
  chosen: Chosen,
  tunnel: { readonly kind: TunnelKind; readonly outer: 4 | 6 },
): void {
  const { p, leave } = director;
  const { kind, outer } = tunnel;
  const outerBytes = outer === 4 ? Ipv4.size : Ipv6.size;
  const room = outerBytes + shimBytes[kind];
  emitRequireHop(director, flow);
  p.require(flow.ipLength.add(room).le(chosen.member.mtu), leave.too_big);
  emitHop(flow);
  const isUdp = kind === "fou" || kind === "gue";
  const innerSum = isUdp ? emitInnerSum(director, flow) : null;
  const at = emitPush(director, flow, chosen, room);
  const etherType = at.plus(-2).place(2, "network");
  const payload = flow.ipLength.add(shimBytes[kind]);
  const header = { director, flow, chosen, at, protocol: outerProtocol(kind, flow.family) };
  if (outer === 4) {
    etherType.set(ETH_P_IP);
    emitIpv4(header, payload.add(Ipv4.size));
  } else {
    etherType.set(ETH_P_IPV6);
    emitIpv6(header, payload);
  }
  const shim = at.plus(outerBytes);
  if (kind === "gre") emitGre(shim, flow.family);
  if (isUdp) {
    emitUdp(director, flow, shim, kind, payload);
    if (kind === "gue") emitGue(shim.plus(Udp.size), flow.family);
    if (innerSum !== null) {
      const headerBytes = shimBytes[kind];
      emitUdpChecksum(director, { at, outer, headerBytes, payload, innerSum });
    }
  }
}

interface OuterHeader {
  readonly director: Director;
  readonly flow: Flow;
  readonly chosen: Chosen;
  readonly at: Pointer;
  readonly protocol: number;
}

function emitIpv4({ director, flow, chosen, at, protocol }: OuterHeader, length: Value): void {
  const { member } = chosen;
  const outer = at.as(Ipv4);
  const totalLength = length.toNetwork(2);
  outer.versionIhl.set(0x45);
  outer.tos.set(flow.trafficClass);
  outer.totalLength.set(totalLength);
  outer.identification.set(0);
  // Never fragmented on the way, so the identification may be anything (RFC 6864 §4.1).
  outer.flagsFragment.set(IP_DF);
  outer.ttl.set(OUTER_TTL);
  outer.protocol.set(protocol);
  const source = emitOuterSource(director, flow, member, 4);
  // The sum of the constant words is kept with the member; the order of bytes does not matter to it (RFC 1071 §2).
  let sum = member.outerSum.read().add(flow.trafficClass.shl(8)).add(totalLength.raw());
  if (source.isChosen) sum = sum.add(source.word.and(0xffff)).add(source.word.shr(16));
  if (protocol !== IPPROTO_IPIP) sum = sum.add((protocol - IPPROTO_IPIP) << 8);
  sum = sum.and(0xffff).add(sum.shr(16));
  sum = sum.add(sum.shr(16));
  outer.checksum.set(sum.xor(0xffff).asNetwork(2));
  outer.source.set(source.word.asNetwork());
  outer.destination.set(member.destination.word(0, 4, "network"));
}

function emitIpv6({ director, flow, chosen, at, protocol }: OuterHeader, length: Value): void {
  const { member } = chosen;
  const outer = at.as(Ipv6);
  // The flow label carries the flow's entropy for routers on the way (RFC 6438 §3).
  const versionClassFlow = flow.trafficClass
    .shl(20)
    .or(6 << 28)
    .or(flow.hash.and(0xfffff));
  outer.versionClassFlow.set(versionClassFlow.toNetwork());
  outer.payloadLength.set(length.toNetwork(2));
  outer.nextHeader.set(protocol);
  outer.hopLimit.set(OUTER_TTL);
  const source = emitOuterSource(director, flow, member, 6);
  if (source.isChosen) {
    outer.source.word(0, 8).set(member.source.word(0, 8));
    outer.source.word(8, 4).set(member.source.word(8, 4));
    outer.source.word(12, 4).set(source.word);
  } else {
    outer.source.set(member.source);
  }
  outer.destination.set(member.destination);
}

function emitGre(at: Pointer, family: 4 | 6): void {
  // No checksum, no key, no sequence number, version 0.
  at.place(2).set(0);
  at.plus(2)
    .place(2, "network")
    .set(family === 4 ? ETH_P_IP : ETH_P_IPV6);
}

/** The first of the ports that carry a flow's entropy, all with the same upper bits (RFC 8085 §5.1.1). */
const SOURCE_PORT = 0xc000;
const SOURCE_PORT_BITS = 14;

function emitUdp(
  { variant }: Director,
  flow: Flow,
  at: Pointer,
  kind: "fou" | "gue",
  length: Value,
): void {
  const { guePort, fouPort, fouPortIpv6 } = variant.tunnels;
  const port: Scalar = kind === "gue" ? guePort : flow.family === 4 ? fouPort : fouPortIpv6;
  const udp = at.as(Udp);
  udp.sourcePort.set(
    flow.hash
      .shr(32 - SOURCE_PORT_BITS)
      .or(SOURCE_PORT)
      .toNetwork(2),
  );
  udp.destinationPort.set(port);
  udp.length.set(length.toNetwork(2));
  udp.checksum.set(0);
}

function emitGue(at: Pointer, family: 4 | 6): void {
  // Version 0, data, no optional fields; the protocol inside; no flags.
  at.place(4, "network").set(innerProtocol(family) << 16);
}
