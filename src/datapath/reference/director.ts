/**
 * The director as a pure function from a frame to what must become of it, in the plainest words, from
 * the RFCs: what the tests hold the program against. It shares the flow hash and the layouts'
 * constants with the program and nothing else; there is no index, no arena and no specialisation here.
 *
 *     parse.ts          link, IP and transport headers
 *     services.ts       which service, which bucket
 *     forward.ts        tunnels, code points, hops
 *     time-exceeded.ts  the answer where a packet ends
 */
import { XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX } from "../../bpf/xdp.ts";
import { IPPROTO_TCP, Tcp } from "../../packet/headers.ts";
import { NO_OWNER } from "../layout.ts";
import { directorReasons, type DirectorReason } from "../reasons.ts";
import { be16, concat, sameBytes } from "./bytes.ts";
import { addedBytes, encapsulated, hopTaken, kindOf, readdressed } from "./forward.ts";
import { type Parsed, parse } from "./parse.ts";
import { hashOf, isVip, serviceFor } from "./services.ts";
import { canBeAnswered, Limit, timeExceeded } from "./time-exceeded.ts";
import type {
  DirectorOutcome,
  ReferenceMember,
  ReferenceService,
  ReferenceWorld,
} from "./world.ts";

/** A function that says what becomes of a frame of 14 bytes or more, `now` by the clock in nanoseconds. */
export function referenceDirector(
  world: ReferenceWorld,
): (frame: Uint8Array, now?: bigint) => DirectorOutcome {
  const families = new Set(world.services.map(({ vip }) => vip.address.family));
  const limit = new Limit(world.limits);
  return (frame, now = 0n) => {
    if (!sameBytes(frame.subarray(0, 6), world.mac)) return leave("not_for_us", frame);
    const packet = parse(frame, { vlanTags: world.vlanTags, families });
    if ("reason" in packet) return leave(packet.reason, frame);
    if ("ours" in packet) {
      return leave(isVip(world, packet.vip) ? packet.ours : "not_a_service", frame);
    }
    const service = serviceFor(world, packet);
    if (service === null) return leave("not_a_service", frame);
    if (packet.problem !== null) return leave(packet.problem, frame);
    return forward(world, { frame, packet, service, allows: () => limit.allows(now) });
  };
}

interface Arrived {
  readonly frame: Uint8Array;
  readonly packet: Parsed;
  readonly service: ReferenceService;
  /** Whether one more error may be sent. */
  readonly allows: () => boolean;
}

function forward(world: ReferenceWorld, arrived: Arrived): DirectorOutcome {
  const { frame, packet, service } = arrived;
  const { pool } = service;
  const hash = hashOf(world, service, packet);
  const owner = pool.owners[hash % pool.owners.length] ?? NO_OWNER;
  const member = pool.members[owner];
  if (owner === NO_OWNER || member === undefined) return leave("no_backend", frame);
  const { path } = member;
  if (path === null || path.nextHopMac === null) return leave("no_next_hop", frame);
  const way = kindOf(member.forwarding);
  if (way === null) return leave("internal", frame);
  const isRouted = way.kind !== "l2";
  if (isRouted && packet.hops <= 1) return expire(world, arrived);
  const crosses = path.ifindex !== world.ifindex;
  if ((isRouted || crosses) && packet.ipLength + addedBytes(way) > path.mtu) {
    return leave("too_big", frame);
  }
  if (way.kind === "dscp" && isCutShort(frame, packet)) return leave("malformed", frame);
  const sent = send(world, member, way, { frame, packet, hash });
  const link = concat(
    path.nextHopMac,
    path.sourceMac,
    ...path.tags.map(({ protocol, id }) => concat(be16(protocol), be16(id))),
    be16(sent.etherType),
  );
  return {
    reason: "forwarded",
    verdict: crosses ? XDP_REDIRECT : XDP_TX,
    packet: concat(link, sent.ip),
    counters: { service: service.counter, member: pool.memberCounters + owner },
    egress: crosses ? path.ifindex : null,
  };
}

/** Everything from the IP header on, padding of the frame included. */
function send(
  world: ReferenceWorld,
  member: ReferenceMember,
  way: NonNullable<ReturnType<typeof kindOf>>,
  {
    frame,
    packet,
    hash,
  }: { readonly frame: Uint8Array; readonly packet: Parsed; readonly hash: number },
): { readonly etherType: number; readonly ip: Uint8Array } {
  const ip = frame.subarray(packet.linkBytes);
  const etherType = packet.family === 4 ? 0x0800 : 0x86dd;
  if (way.kind === "l2") return { etherType, ip };
  if (way.kind === "dscp") return { etherType, ip: readdressed(ip, packet, member) };
  return encapsulated(world, member, way, { packet, hash, inner: hopTaken(ip, packet) });
}

/** Whether the TCP header that would have to be changed is not all there. */
function isCutShort(
  frame: Uint8Array,
  { protocol, linkBytes, headerBytes, ipLength }: Parsed,
): boolean {
  if (protocol !== IPPROTO_TCP) return false;
  const end = headerBytes + Tcp.size;
  return frame.length < linkBytes + end || ipLength < end;
}

function expire(world: ReferenceWorld, { frame, packet, allows }: Arrived): DirectorOutcome {
  const own = packet.family === 4 ? world.addresses.ipv4 : world.addresses.ipv6;
  if (own === null || !canBeAnswered(packet)) return leave("time_exceeded_silent", frame);
  if (!allows()) return leave("rate_limited", frame);
  return {
    reason: "time_exceeded",
    verdict: XDP_TX,
    packet: timeExceeded(frame, packet, own),
    counters: null,
    egress: null,
  };
}

function leave(reason: DirectorReason, frame: Uint8Array): DirectorOutcome {
  const passes = directorReasons.some(({ name, fate }) => name === reason && fate === "passed");
  return {
    reason,
    verdict: passes ? XDP_PASS : XDP_DROP,
    packet: passes ? frame : null,
    counters: null,
    egress: null,
  };
}
