/** What is in front of the IP header: the Ethernet header and up to two VLAN tags (IEEE 802.1Q). */
import type { Exit, FunctionBuilder } from "../bpf/function.ts";
import { any, type Condition, type Scalar, type Value } from "../bpf/value.ts";
import type { Pointer } from "../bpf/view.ts";
import type { Packet } from "../bpf/packet.ts";
import { ETH_P_8021AD, ETH_P_8021Q, Ethernet, Vlan } from "../packet/headers.ts";

export interface Link {
  /** Where the IP header begins. */
  readonly net: Pointer;
  readonly etherType: Value;
  /** Bytes of VLAN tags. */
  readonly tagBytes: Scalar;
}

interface Frame {
  readonly p: FunctionBuilder;
  /** The Ethernet header is known to be in it. */
  readonly packet: Packet;
  readonly leave: { readonly too_short: Exit };
  /** Tags that are looked behind: 0, 1 or 2. */
  readonly variant: { readonly vlanTags: number };
}

/** Emits the walk over the tags, if any are looked behind. */
export function emitTags({ p, packet, leave, variant }: Frame): Link {
  const etherType = packet.data.as(Ethernet).etherType.read();
  if (variant.vlanTags === 0) {
    return { net: packet.data.plus(Ethernet.size), etherType, tagBytes: 0 };
  }
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
