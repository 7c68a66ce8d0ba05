/**
 * The answer to a packet whose TTL or hop limit ends here: ICMP time exceeded (RFC 792, RFC 4443 §3.3)
 * from the director's own address, back the way the packet came. So traceroute shows the director,
 * and a loop ends.
 */
import { Helper } from "../../bpf/helpers.ts";
import { any, type Value } from "../../bpf/value.ts";
import type { Packet } from "../../bpf/xdp.ts";
import { XDP_TX } from "../../bpf/xdp.ts";
import type { Pointer } from "../../bpf/view.ts";
import type { IpAddress } from "../../net/address.ts";
import {
  Ethernet,
  Icmp,
  ICMP_TIME_EXCEEDED,
  ICMPV6_TIME_EXCEED,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import { folded } from "../checksum.ts";
import { counterOffset, emitCount } from "../counters.ts";
import { directorReasonIndex } from "../reasons.ts";
import type { Link } from "../vlan-tags.ts";
import type { Director } from "./context.ts";
import { emitRequireAllowed } from "./limit.ts";
import { OUTER_TTL } from "./tunnel.ts";

/** Bytes of transport header in the quote: the ports (RFC 792). */
const QUOTED_TRANSPORT = 8;
const QUOTE_MAX = { 4: 60 + QUOTED_TRANSPORT, 6: Ipv6.size + QUOTED_TRANSPORT } as const;

export function emitTimeExceeded(director: Director, family: 4 | 6, link: Link): void {
  const { p, packet, length, leave, variant } = director;
  const own = family === 4 ? variant.addresses.ipv4 : variant.addresses.ipv6;
  if (own === null) {
    p.goto(leave.time_exceeded_silent);
    return;
  }
  if (family === 4) emitRequireSender4(director, link.net);
  else emitRequireSender6(director, link.net);
  emitRequireAllowed(director, leave.rate_limited);

  const sender = family === 4 ? [16 - 4] : [8, 12, 16, 20];
  const to = sender.map((at) => link.net.plus(at).place(4).read());
  const quote =
    family === 4
      ? link.net.as(Ipv4).versionIhl.read().and(0xf).shl(2).add(QUOTED_TRANSPORT)
      : p.constant(QUOTE_MAX[6]);
  const linkBytes = p.constant(Ethernet.size).add(link.tagBytes);
  const start = emitReadLink(packet, link);
  const excess = linkBytes.add(quote).sub(length);
  const trimmed = p.call(Helper.xdpAdjustTail, p.contextRegister, excess);
  p.require(trimmed.u32().eq(0), leave.internal);
  const added = Icmp.size + (family === 4 ? Ipv4.size : Ipv6.size);
  const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, -added);
  p.require(moved.u32().eq(0), leave.no_headroom);

  const answer = p.packet();
  const net = emitWriteLink(director, answer, link, start);
  answer.require(added, leave.internal, net);
  const icmp = net.plus(added - Icmp.size);
  const message = { net, icmp, to, own, quote };
  if (family === 4) emitIpv4(director, answer, message);
  else emitIpv6(director, answer, message);
  const counter = counterOffset(directorReasonIndex("time_exceeded"));
  emitCount(p, variant.maps.counters, length, [counter]);
  p.return(XDP_TX);
}

/** Only a station of its own is answered (RFC 1812 §4.3.2.7). */
function emitRequireSender4({ p, leave }: Director, net: Pointer): void {
  const source = net.plus(Ipv4.offsets.source);
  const first = source.place(1).read();
  p.leaveIf(first.eq(127), leave.time_exceeded_silent);
  p.leaveIf(first.and(0xf0).eq(0xe0), leave.time_exceeded_silent);
  const whole = source.place(4).read();
  p.leaveIf(any(whole.eq(0), whole.eq(-1)), leave.time_exceeded_silent);
}

/** RFC 4443 §2.4 (e). */
function emitRequireSender6({ p, leave }: Director, net: Pointer): void {
  const source = net.plus(Ipv6.offsets.source);
  p.leaveIf(source.place(1).eq(0xff), leave.time_exceeded_silent);
  p.if(source.place(8).eq(0), () => {
    const low = source.plus(8).place(8).read();
    const loopback = p.constant(1n << 56n, 8);
    p.leaveIf(any(low.eq(0), low.eq(loopback)), leave.time_exceeded_silent);
  });
}

interface LinkStart {
  /** Destination and the first two bytes of the source; the others. */
  readonly macs: readonly [Value, Value];
  readonly etherType: Value;
  readonly tags: readonly [Value, Value] | null;
}

function emitReadLink(packet: Packet, { net, tagBytes }: Link): LinkStart {
  const tags = typeof tagBytes === "object" ? ([12, 16] as const) : null;
  const [outer, inner] = (tags ?? []).map((at) => packet.data.plus(at).place(4).read());
  return {
    macs: [packet.data.place(8).read(), packet.data.plus(8).place(4).read()],
    etherType: net.plus(-2).place(2).read(),
    tags: outer === undefined || inner === undefined ? null : [outer, inner],
  };
}

/** Writes the link's header back to front: MACs exchanged, tags as they were. Returns where the IP header begins. */
function emitWriteLink(
  { p, leave }: Director,
  answer: Packet,
  { tagBytes }: Link,
  { macs: [first, rest], etherType, tags }: LinkStart,
): Pointer {
  answer.require(Ethernet.size, leave.internal);
  const { data } = answer;
  // In this byte order: six bytes of destination, two of source, and four more of that.
  const source = first.shr(48).or(rest.u64().shl(16));
  data.place(8).set(source.or(first.shl(48)));
  data.plus(8).place(4).set(first.shr(16).u32());
  if (tags === null || typeof tagBytes !== "object") {
    data.plus(12).place(2).set(etherType);
    return data.plus(Ethernet.size);
  }
  const bytes = tagBytes.and(12);
  p.if(bytes.ne(0), () => {
    answer.require(Ethernet.size + 4, leave.internal);
    data.plus(12).place(4).set(tags[0]);
    p.if(bytes.gt(4), () => {
      answer.require(Ethernet.size + 8, leave.internal);
      data.plus(16).place(4).set(tags[1]);
    });
  });
  const net = data.plus(Ethernet.size).plus(bytes);
  answer.require(Icmp.size, leave.internal, net);
  net.plus(-2).place(2).set(etherType);
  return net;
}

interface Message {
  readonly net: Pointer;
  readonly icmp: Pointer;
  /** The sender's address as words. */
  readonly to: readonly Value[];
  readonly own: IpAddress;
  readonly quote: Value;
}

function emitIpv4(director: Director, answer: Packet, message: Message): void {
  const { net, icmp, to, own, quote } = message;
  const { p } = director;
  const ip = net.as(Ipv4);
  ip.versionIhl.set(0x45);
  ip.tos.set(0);
  ip.totalLength.set(quote.add(Ipv4.size + Icmp.size).toNetwork(2));
  ip.identification.set(0);
  ip.flagsFragment.set(0);
  ip.ttl.set(OUTER_TTL);
  ip.protocol.set(IPPROTO_ICMP);
  ip.checksum.set(0);
  const view = new DataView(own.bytes.buffer, own.bytes.byteOffset, 4);
  net.plus(Ipv4.offsets.source).place(4).set(view.getUint32(0, true));
  net
    .plus(Ipv4.offsets.destination)
    .place(4)
    .set(to[0] as Value);
  let sum = p.constant(0, 8);
  for (let at = 0; at < Ipv4.size; at += 4) sum = sum.add(net.plus(at).place(4).read().u64());
  net.plus(Ipv4.offsets.checksum).place(2).set(folded(sum).xor(0xffff));
  icmp.place(8).set(ICMP_TIME_EXCEEDED);
  emitIcmpChecksum(director, answer, icmp, QUOTE_MAX[4], p.constant(0, 8));
}

function emitIpv6(director: Director, answer: Packet, message: Message): void {
  const { net, icmp, to, own } = message;
  const { p } = director;
  const ip = net.as(Ipv6);
  const length = Icmp.size + QUOTE_MAX[6];
  ip.versionClassFlow.set(6 * 2 ** 28);
  ip.payloadLength.set(length);
  ip.nextHeader.set(IPPROTO_ICMPV6);
  ip.hopLimit.set(OUTER_TTL);
  ip.source.set(own.bytes);
  to.forEach((word, index) => ip.destination.word(4 * index, 4).set(word));
  icmp.place(8).set(ICMPV6_TIME_EXCEED);
  // The pseudo header (RFC 8200 §8.1): addresses, length, protocol.
  let pseudo = p.constant((length << 8) + (IPPROTO_ICMPV6 << 8), 8);
  for (let at = Ipv6.offsets.source; at < Ipv6.size; at += 4) {
    pseudo = pseudo.add(net.plus(at).place(4).read().u64());
  }
  emitIcmpChecksum(director, answer, icmp, QUOTE_MAX[6], pseudo);
}

/** Sums header and quote to the end of the frame: it was cut where the quote ends. */
function emitIcmpChecksum(
  { p }: Director,
  answer: Packet,
  icmp: Pointer,
  quoteMax: number,
  pseudo: Value,
): void {
  const sum = p.variable(pseudo, 8);
  p.block((ended) => {
    for (let at = 0; at < Icmp.size + quoteMax; at += 4) {
      const word = icmp.plus(at);
      answer.require(4, ended, word);
      sum.set(sum.add(word.place(4).read().u64()));
    }
  });
  icmp.plus(Icmp.offsets.checksum).place(2).set(folded(sum).xor(0xffff));
}
