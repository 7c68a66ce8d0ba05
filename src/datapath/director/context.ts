/** What the parts of the director's program hand to each other. */
import type { Exit } from "../../bpf/function.ts";
import type { Value } from "../../bpf/value.ts";
import type { Pointer, View } from "../../bpf/view.ts";
import type { Packet, XdpBuilder } from "../../bpf/xdp.ts";
import type { ArenaAccess } from "../arena.ts";
import type { NextHop, Member, ServiceSlot } from "../layout.ts";
import type { DirectorReason } from "../reasons.ts";
import type { Link } from "../vlan-tags.ts";
import type { DirectorVariant } from "./variant.ts";

/** An exit by reason: counts the packet under it, then passes or drops it. */
export type Leave = Readonly<Record<DirectorReason, Exit>>;

export interface Director {
  readonly p: XdpBuilder;
  /** As it came in; its pointers are dead once a header was added. */
  readonly packet: Packet;
  /** Bytes of the frame as it came in. */
  readonly length: Value;
  readonly arena: ArenaAccess;
  readonly leave: Leave;
  readonly variant: DirectorVariant;
}

/** A packet of a service, and what a tunnel needs to know of it. */
export interface Flow {
  readonly family: 4 | 6;
  readonly link: Link;
  readonly service: View<typeof ServiceSlot.fields>;
  /** 32 bits over the service's hash key. */
  readonly hash: Value;
  /** Bytes of the IP packet, host order; padding of the frame not counted. */
  readonly ipLength: Value;
  /** DSCP and ECN: the TOS octet, or the traffic class. */
  readonly trafficClass: Value;
  /** Behind the IP header, its options and extension headers; for those who change what lies there. */
  readonly transport: () => Transport;
  /** Where a packet goes whose last hop this is. */
  readonly expired: Exit;
}

/** The first 8 bytes are in the frame. */
export interface Transport {
  readonly at: Pointer;
  readonly protocol: Value;
}

/** The member a flow belongs to. */
export interface Chosen {
  readonly member: View<typeof Member.fields>;
  /** Its index in the pool. */
  readonly owner: Value;
  readonly nextHop: View<typeof NextHop.fields>;
  /** `NextHop.addresses`, read once: it may change under us. */
  readonly addresses: Value;
}
