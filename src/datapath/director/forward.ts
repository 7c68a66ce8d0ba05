/**
 * The ways a packet leaves. `l2` changes the two MACs and nothing else. `ipip` puts an outer IPv4
 * (RFC 2003, RFC 4213) or IPv6 (RFC 2473) header in front, whatever the inner family.
 */
import { Helper } from "../../bpf/helpers.ts";
import type { Pointer } from "../../bpf/view.ts";
import { XDP_TX } from "../../bpf/xdp.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_DF,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import { emitCount } from "../counters.ts";
import { FORWARDING_MASK, ForwardingCode, wayOf } from "../layout.ts";
import type { Chosen, Director, Flow } from "./context.ts";

/** Outer headers start with this TTL or hop limit (RFC 1700's default, Linux's too). */
export const OUTER_TTL = 64;

type Forwarder = (director: Director, flow: Flow, chosen: Chosen) => void;

/** Sends the packet the way its member says, the likeliest asked for first. */
export function emitForward(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, leave, variant } = director;
  const way = chosen.member.way.read();
  if (variant.features.forwardings.includes(ForwardingCode.l2)) {
    const here = wayOf(ForwardingCode.l2, variant.ifindex);
    p.if(way.eq(here | 0), () => emitL2(director, flow, chosen));
  }
  const forwarding = way.and(FORWARDING_MASK);
  for (const [code, emit] of forwarders) {
    if (!variant.features.forwardings.includes(code)) continue;
    p.if(forwarding.eq(code), () => emit(director, flow, chosen));
  }
  p.goto(leave.internal);
}

/** What is asked for by the forwarding alone, the likeliest first. */
const forwarders: readonly (readonly [ForwardingCode, Forwarder])[] = [
  [ForwardingCode.ipipOverIpv4, emitIpipOverIpv4],
  [ForwardingCode.ipipOverIpv6, emitIpipOverIpv6],
  [ForwardingCode.l2, emitL2Elsewhere],
];

/** By this interface, whose MAC is the source. */
function emitL2(director: Director, flow: Flow, { member, addresses }: Chosen): void {
  const { p, packet, variant } = director;
  const { mac } = variant;
  packet.data.place(8).set(addresses);
  const rest = new DataView(mac.buffer, mac.byteOffset, mac.byteLength).getInt32(2, true);
  packet.data.plus(8).place(4).set(rest);
  emitForwarded(director, flow, member);
  p.return(XDP_TX);
}

function emitL2Elsewhere(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, packet, leave } = director;
  // What came in by this interface fits it; another's driver would drop what it cannot take unseen.
  p.require(flow.ipLength.le(chosen.member.mtu), leave.too_big);
  emitMacs(packet.data, chosen);
  emitForwarded(director, flow, chosen.member);
  p.return(p.call(Helper.redirect, chosen.nextHop.ifindex.read().u64(), 0));
}

function emitIpipOverIpv4(director: Director, flow: Flow, chosen: Chosen): void {
  const { member } = chosen;
  const data = emitPush(director, flow, chosen, Ipv4.size);
  data.as(Ethernet).etherType.set(ETH_P_IP);
  const outer = data.plus(Ethernet.size).as(Ipv4);
  const totalLength = flow.ipLength.add(Ipv4.size).toNetwork(2);
  const protocol = flow.family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
  outer.versionIhl.set(0x45);
  outer.tos.set(flow.trafficClass);
  outer.totalLength.set(totalLength);
  outer.identification.set(0);
  // Never fragmented on the way, so the identification may be anything (RFC 6864 §4.1).
  outer.flagsFragment.set(IP_DF);
  outer.ttl.set(OUTER_TTL);
  outer.protocol.set(protocol);
  // The sum of the constant words is kept with the member; the order of bytes does not matter to it (RFC 1071 §2).
  let sum = member.outerSum.read().add(flow.trafficClass.shl(8)).add(totalLength.raw());
  if (protocol !== IPPROTO_IPIP) sum = sum.add((protocol - IPPROTO_IPIP) << 8);
  sum = sum.and(0xffff).add(sum.shr(16));
  sum = sum.add(sum.shr(16));
  outer.checksum.set(sum.xor(0xffff).asNetwork(2));
  outer.source.set(member.source.word(0, 4, "network"));
  outer.destination.set(member.destination.word(0, 4, "network"));
  emitSend(director, flow, chosen);
}

function emitIpipOverIpv6(director: Director, flow: Flow, chosen: Chosen): void {
  const { member } = chosen;
  const data = emitPush(director, flow, chosen, Ipv6.size);
  data.as(Ethernet).etherType.set(ETH_P_IPV6);
  const outer = data.plus(Ethernet.size).as(Ipv6);
  // The flow label carries the flow's entropy for routers on the way (RFC 6438 §3).
  const versionClassFlow = flow.trafficClass
    .shl(20)
    .or(6 << 28)
    .or(flow.hash.and(0xfffff));
  outer.versionClassFlow.set(versionClassFlow.toNetwork());
  outer.payloadLength.set(flow.ipLength.toNetwork(2));
  outer.nextHeader.set(flow.family === 4 ? IPPROTO_IPIP : IPPROTO_IPV6);
  outer.hopLimit.set(OUTER_TTL);
  outer.source.set(member.source);
  outer.destination.set(member.destination);
  emitSend(director, flow, chosen);
}

/** Makes room for an outer header of `size` bytes; returns the new start of the frame, MACs written. */
function emitPush({ p, leave }: Director, flow: Flow, chosen: Chosen, size: number): Pointer {
  p.require(flow.ipLength.add(size).le(chosen.member.mtu), leave.too_big);
  const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, -size);
  p.require(moved.u32().eq(0), leave.no_headroom);
  const packet = p.packet();
  packet.require(Ethernet.size + size, leave.internal);
  emitMacs(packet.data, chosen);
  return packet.data;
}

/** Destination and source MAC as two words from the next hop's record. */
function emitMacs(data: Pointer, { addresses, nextHop }: Chosen): void {
  data.place(8).set(addresses);
  data.plus(8).place(4).set(nextHop.sourceRest);
}

/** Sends the packet on, outer header and all: back out of this interface or by another. */
function emitSend(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, variant } = director;
  // Counted before it is asked where to: one stretch of code for both.
  emitForwarded(director, flow, chosen.member);
  const ifindex = chosen.nextHop.ifindex.read();
  const elsewhere = p.exit(() => p.return(p.call(Helper.redirect, ifindex.u64(), 0)));
  p.leaveIf(ifindex.ne(variant.ifindex), elsewhere);
  p.return(XDP_TX);
}

function emitForwarded(
  { p, length, variant }: Director,
  { service }: Flow,
  member: Chosen["member"],
): void {
  emitCount(p, variant.maps.counters, length, [service.counter.read(), member.counter.read()]);
}
