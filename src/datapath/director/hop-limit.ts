/**
 * The TTL or hop limit of a packet that is routed: one less (RFC 2003 §3.1 and RFC 2473 §3 for tunnels,
 * RFC 1812 §5.3.1). `l2` forwards as a switch does and leaves it.
 */
import { Ipv4, Ipv6 } from "../../packet/headers.ts";
import type { Director, Flow } from "./context.ts";

/** Leaves with a packet that would not live to be forwarded. Changes nothing. */
export function emitRequireHop({ p }: Director, { family, link, expired }: Flow): void {
  const hops = family === 4 ? link.net.as(Ipv4).ttl : link.net.as(Ipv6).hopLimit;
  p.require(hops.gt(1), expired);
}

export function emitHop({ family, link }: Flow): void {
  if (family === 6) {
    const { hopLimit } = link.net.as(Ipv6);
    hopLimit.set(hopLimit.sub(1));
    return;
  }
  const { ttl } = link.net.as(Ipv4);
  ttl.set(ttl.sub(1));
  // As Linux's ip_decrease_ttl() does it: in this byte order 0x0100 is 1, and 0xffff counts as 0.
  const checksum = link.net.plus(Ipv4.offsets.checksum).place(2);
  const sum = checksum.read().u32().add(1);
  checksum.set(sum.add(sum.add(1).shr(16)).and(0xffff));
}
