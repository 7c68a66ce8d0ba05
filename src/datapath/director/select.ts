/** From a flow to the member that owns it and the next hop towards that. */
import { Bucket, Member, NextHop, NO_OWNER, UNRESOLVED } from "../layout.ts";
import type { Chosen, Director, Flow } from "./context.ts";

const OWNER_MASK = 0xffff;

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
  p.leaveIf(addresses.has(UNRESOLVED), leave.no_next_hop);
  return { member, owner, nextHop, addresses };
}
