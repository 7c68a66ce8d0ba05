/** The Ethernet header that a packet leaves with: MACs and VLAN tags of its next hop. */
import { Helper } from "../../bpf/helpers.ts";
import type { Scalar, Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import { Ethernet, Vlan } from "../../packet/headers.ts";
import type { Chosen, Director, Flow } from "./context.ts";

/**
 * Emits room for `size` more bytes in front of the IP packet, and the MACs and tags before those.
 * Returns where they begin: the old IP header lies `size` bytes behind.
 */
export function emitPush(director: Director, flow: Flow, chosen: Chosen, size: number): Pointer {
  const { p, leave, variant } = director;
  const isTagged = variant.vlanTags > 0;
  const tags = isTagged ? tagBytesOf(chosen) : null;
  const distance: Scalar = tags === null ? -size : tags.neg().add(flow.link.tagBytes).sub(size);
  const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, distance);
  p.require(moved.u32().eq(0), leave.no_headroom);
  const packet = p.packet();
  packet.require(Ethernet.size + size, leave.internal);
  emitMacs(packet.data, chosen);
  if (tags === null) return packet.data.plus(Ethernet.size);
  const net = packet.data.plus(Ethernet.size).plus(tags);
  packet.require(size, leave.internal, net);
  p.if(tags.ne(0), () => {
    packet.require(Ethernet.size + Vlan.size, leave.internal);
    packet.data.plus(12).place(4).set(chosen.nextHop.outerTag);
    p.if(tags.gt(Vlan.size), () => {
      packet.require(Ethernet.size + 2 * Vlan.size, leave.internal);
      packet.data.plus(16).place(4).set(chosen.nextHop.innerTag);
    });
  });
  return net;
}

/** Emits what makes the frame as it is the next hop's, where only its tags may have to change. */
export function emitRelabel(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, packet, variant } = director;
  if (variant.vlanTags === 0) {
    emitMacs(packet.data, chosen);
    return;
  }
  const { tagBytes } = flow.link;
  const tags = tagBytesOf(chosen);
  p.block((relabelled) => {
    const other = p.exit(() => {
      emitPush(director, flow, chosen, 0);
      p.goto(relabelled);
    });
    p.require(tags.eq(tagBytes), other);
    emitMacs(packet.data, chosen);
    p.if(tags.ne(0), () => {
      // As many as came: the parser has seen that they are there.
      const [outer, inner] = [12, 16].map((at) => packet.data.plus(at).place(4));
      packet.require(Ethernet.size + Vlan.size, director.leave.internal);
      outer?.set(chosen.nextHop.outerTag);
      p.if(tags.gt(Vlan.size), () => {
        packet.require(Ethernet.size + 2 * Vlan.size, director.leave.internal);
        inner?.set(chosen.nextHop.innerTag);
      });
    });
  });
}

/** Destination and source MAC as two words from the next hop's record. */
export function emitMacs(data: Pointer, { addresses, nextHop }: Chosen): void {
  data.place(8).set(addresses);
  data.plus(8).place(4).set(nextHop.sourceRest);
}

/** 0, 4 or 8: the mask says so to the verifier. */
const tagBytesOf = ({ nextHop }: Chosen): Value => nextHop.tagBytes.read().and(12);
