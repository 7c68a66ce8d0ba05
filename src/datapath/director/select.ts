/** From a flow to the member that owns it and the next hop towards that. */
import { Bucket, Member, NextHop, NO_OWNER } from "../layout.ts";
import type { Chosen, Director, Flow } from "./context.ts";

const OWNER_MASK = 0xffff;
const MAC_SHIFT = 16;
/** log2 of a counter's size. */
export const COUNTER_SHIFT = 4;

export function emitSelect({ p, arena, leave }: Director, { service, hash }: Flow): Chosen {
  const bucket = arena
    .pointer(Bucket.size, service.buckets.read().add(hash.shl(2).and(service.bucketMask)))
    .place(4)
    .read();
  const owner = bucket.and(OWNER_MASK);
  p.leaveIf(owner.eq(NO_OWNER), leave.no_backend);
  const member = arena.record(Member, service.members.read().add(owner.shl(6)));
  const nextHop = arena.record(NextHop, member.nextHop.read());
  const addresses = nextHop.addresses.read();
  p.leaveIf(addresses.shl(MAC_SHIFT).eq(0), leave.no_next_hop);
  return {
    member,
    memberCounter: service.memberCounters.read().add(owner.shl(COUNTER_SHIFT)),
    forwarding: member.forwarding.read(),
    nextHop,
    addresses,
  };
}
