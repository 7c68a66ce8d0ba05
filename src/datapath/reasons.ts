/**
 * What becomes of a packet. Every packet that enters a program ends in exactly one of these, so
 * their sum is the number of packets received. New ones go to the end: the index is the counter's.
 */

export interface Reason {
  readonly name: string;
  readonly fate: "forwarded" | "passed" | "dropped" | "answered";
  readonly meaning: string;
  /** Whether a number that grows is nothing to look into. */
  readonly normal: boolean;
}

const reason = <const Name extends string>(
  name: Name,
  fate: Reason["fate"],
  meaning: string,
  normal = false,
): Reason & { readonly name: Name } => ({ name, fate, meaning, normal });

/** The director's reasons, in the order of its counters. */
export const directorReasons = [
  reason("forwarded", "forwarded", "Sent to a backend", true),
  reason(
    "not_ip",
    "passed",
    "Neither IPv4 nor IPv6 behind the Ethernet header and the VLAN tags that are looked behind",
    true,
  ),
  reason(
    "not_for_us",
    "passed",
    "Addressed to another MAC: broadcast, multicast, flooded by a switch",
    true,
  ),
  reason("not_a_service", "passed", "No service has this address, protocol and port", true),
  reason("too_short", "passed", "Ends before its headers do, and may not be ours"),
  reason("malformed", "dropped", "For a VIP, but its lengths contradict each other"),
  reason("fragment", "dropped", "For a VIP, but a fragment: not forwarded yet"),
  reason("ip_options", "dropped", "For a VIP, but behind more extension headers than are followed"),
  reason("no_backend", "dropped", "No backend of the pool is usable"),
  reason("no_next_hop", "dropped", "The MAC of the backend or its gateway is not known"),
  reason("too_big", "dropped", "Does not fit the MTU towards the backend, outer header and all"),
  reason("no_headroom", "dropped", "The driver leaves no room for an outer header"),
  reason("internal", "dropped", "A table is not as the program expects: a bug"),
  reason(
    "time_exceeded",
    "answered",
    "Its TTL ended here: the sender was told, which is how traceroute sees the director",
    true,
  ),
  reason(
    "time_exceeded_silent",
    "dropped",
    "Its TTL ended here, and the sender could not be told: no address of ours, or none of its own",
  ),
  reason("rate_limited", "dropped", "Its TTL ended here, but too many senders were told already"),
] as const satisfies readonly Reason[];
export type DirectorReason = (typeof directorReasons)[number]["name"];

/** The index of a director's reason among its counters. */
export const directorReasonIndex = (name: DirectorReason): number =>
  directorReasons.findIndex((reason) => reason.name === name);

/** The agent's reasons, in the order of its counters. */
export const agentReasons = [
  reason(
    "decapsulated",
    "forwarded",
    "From a director, for a VIP: handed to the host without its outer header",
    true,
  ),
  reason("not_encapsulated", "passed", "No tunnel, and no code point that names a VIP", true),
  reason(
    "not_a_vip",
    "passed",
    "A tunnel for no VIP of ours, from somebody who is no director",
    true,
  ),
  reason("too_short", "passed", "Ends before its headers do"),
  reason("stranger", "dropped", "A tunnel for a VIP, but not from a director"),
  reason("foreign_vip", "dropped", "From a director, but for no VIP of ours"),
  reason(
    "malformed",
    "dropped",
    "From a director, but cut short, of a form directors do not send, or of lengths that contradict each other",
  ),
  reason("no_room", "dropped", "The outer header could not be removed"),
  reason("internal", "dropped", "A table is not as the program expects: a bug"),
  reason(
    "ecn_not_capable",
    "dropped",
    "Marked as congested on its way from the director, but its sender does not do ECN",
  ),
  reason("nested", "dropped", "From a director, but inside is a tunnel again"),
  reason(
    "restored",
    "forwarded",
    "Its code point named a VIP: handed to the host with that as its destination",
    true,
  ),
] as const satisfies readonly Reason[];
export type AgentReason = (typeof agentReasons)[number]["name"];

/** The index of an agent's reason among its counters. */
export const agentReasonIndex = (name: AgentReason): number =>
  agentReasons.findIndex((reason) => reason.name === name);
