/** Whose frame is it, and what is in front of the IP header. */
import { Ethernet } from "../../packet/headers.ts";
import { emitTags, type Link } from "../vlan-tags.ts";
import type { Director } from "./context.ts";

export function emitLink(director: Director): Link {
  const { p, packet, leave, variant } = director;
  packet.require(Ethernet.size, leave.too_short);
  const ethernet = packet.data.as(Ethernet);
  const own = new DataView(variant.mac.buffer, variant.mac.byteOffset, variant.mac.byteLength);
  p.require(ethernet.destination.word(0, 4).eq(own.getUint32(0, true)), leave.not_for_us);
  p.require(ethernet.destination.word(4, 2).eq(own.getUint16(4, true)), leave.not_for_us);
  return emitTags(director);
}
