/** Whose frame is it, and what is in front of the IP header: up to two VLAN tags (IEEE 802.1Q). */
import { any } from "../../bpf/value.ts";
import { ETH_P_8021AD, ETH_P_8021Q, Ethernet, Vlan } from "../../packet/headers.ts";
import type { Director, Link } from "./context.ts";
import type { Condition, Value } from "../../bpf/value.ts";

export function emitLink(director: Director): Link {
  const { p, packet, leave, variant } = director;
  packet.require(Ethernet.size, leave.too_short);
  const ethernet = packet.data.as(Ethernet);
  const own = new DataView(variant.mac.buffer, variant.mac.byteOffset, variant.mac.byteLength);
  p.require(ethernet.destination.word(0, 4).eq(own.getUint32(0, true)), leave.not_for_us);
  p.require(ethernet.destination.word(4, 2).eq(own.getUint16(4, true)), leave.not_for_us);
  const etherType = ethernet.etherType.read();
  if (variant.vlanTags === 0) {
    return { net: packet.data.plus(Ethernet.size), etherType, tagBytes: 0 };
  }
  return emitTags(director, etherType);
}

function emitTags({ p, packet, leave, variant }: Director, etherType: Value): Link {
  const net = p.variable(packet.data.plus(Ethernet.size).address(), 8);
  const type = p.variable(etherType.raw(), 2);
  const tagBytes = p.variable(0);
  p.block((untagged) => {
    const tagged = p.exit(() => {
      for (let tags = 1; tags <= variant.vlanTags; tags += 1) {
        const size = Ethernet.size + tags * Vlan.size;
        packet.require(size, leave.too_short);
        const tag = packet.data.plus(size - Vlan.size).as(Vlan);
        net.set(packet.data.plus(size).address());
        type.set(tag.etherType.read().raw());
        tagBytes.set(tags * Vlan.size);
        if (tags < variant.vlanTags) p.require(isTag(type.asNetwork(2)), untagged);
      }
      p.goto(untagged);
    });
    p.leaveIf(() => isTag(etherType), tagged);
  });
  return { net: p.pointer(net), etherType: type.asNetwork(2), tagBytes };
}

const isTag = (etherType: Value): Condition =>
  any(etherType.eq(ETH_P_8021Q), etherType.eq(ETH_P_8021AD));
