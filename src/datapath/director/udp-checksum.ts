/**
 * The checksum of an outer UDP header, without a look at the payload: the transport segment inside,
 * its own checksum and all, sums to the complement of its pseudo header (local checksum offload,
 * Documentation/networking/checksum-offloads.rst). What has no such checksum gets none outside either.
 */
import type { Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import { IPPROTO_TCP, IPPROTO_UDP, Ipv4, Ipv6, Udp } from "../../packet/headers.ts";
import { folded } from "../checksum.ts";
import type { Director, Flow } from "./context.ts";

/** What is known to have no checksum. */
const NONE = 0;

/** What the inner packet adds to the sum, as 64 bits not folded, or 0; `null` when no checksum is asked for. */
export function emitInnerSum({ p, variant }: Director, flow: Flow): Value | null {
  if (!variant.tunnels.udpChecksum) return null;
  const { at, protocol } = flow.transport();
  const { net } = flow.link;
  const sum = p.variable(NONE, 8);
  p.block((done) => {
    if (flow.family === 6) p.require(protocol.eq(net.as(Ipv6).nextHeader.read()), done);
    p.if(protocol.ne(IPPROTO_TCP), () => {
      p.require(protocol.eq(IPPROTO_UDP), done);
      p.leaveIf(at.as(Udp).checksum.eq(0), done);
    });
    if (flow.family === 4) {
      // The header sums to 0xffff. Less the pseudo header: both addresses, the protocol, the length.
      const headerBytes = net.as(Ipv4).versionIhl.read().and(0xf).shl(2);
      const length = flow.ipLength.sub(headerBytes).toNetwork(2).raw();
      const words = net.plus(Ipv4.offsets.source);
      const pseudo = words
        .place(4)
        .read()
        .u64()
        .add(words.plus(4).place(4).read().u64())
        .add(protocol.shl(8).u64())
        .add(length.u64());
      sum.set(complement(pseudo));
    } else {
      // Addresses and length are in header and pseudo header, and cancel out.
      const start = net.place(4).read().u64();
      const protocolAndHops = net.plus(Ipv6.offsets.nextHeader).place(2).read().u64();
      sum.set(start.add(protocolAndHops).add(complement(protocol.shl(8).u64())));
    }
  });
  return sum;
}

/** Ones' complement negation of a sum of 32-bit words below 2^36. */
const complement = (sum: Value): Value => sum.neg().add(0xffff_ffff * 16);

export function emitUdpChecksum(
  { p }: Director,
  header: {
    /** The outer IP header. */
    readonly at: Pointer;
    readonly outer: 4 | 6;
    /** Bytes of UDP header and what lies between it and the inner packet. */
    readonly headerBytes: number;
    /** Bytes of UDP header and payload. */
    readonly payload: Value;
    readonly innerSum: Value;
  },
): void {
  const { at, outer, headerBytes, payload, innerSum } = header;
  p.if(innerSum.ne(NONE), () => {
    const addresses = at.plus(outer === 4 ? Ipv4.offsets.source : Ipv6.offsets.source);
    const udp = at.plus(outer === 4 ? Ipv4.size : Ipv6.size);
    const words = [
      ...Array.from({ length: outer === 4 ? 2 : 8 }, (_, index) => addresses.plus(4 * index)),
      ...Array.from({ length: headerBytes / 4 }, (_, index) => udp.plus(4 * index)),
    ];
    let sum = innerSum.add(IPPROTO_UDP << 8).add(payload.toNetwork(2).raw().u64());
    for (const word of words) sum = sum.add(word.place(4).read().u64());
    const checksum = folded(sum).xor(0xffff);
    const checksumField = udp.plus(Udp.offsets.checksum).place(2);
    p.if(
      checksum.eq(0),
      () => checksumField.set(0xffff),
      () => checksumField.set(checksum),
    );
  });
}
