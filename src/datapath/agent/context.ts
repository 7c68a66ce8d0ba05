/** What the parts of the agent's program hand to each other. */
import type { Exit, FunctionBuilder } from "../../bpf/function.ts";
import type { Packet } from "../../bpf/packet.ts";
import type { Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import type { AgentReason } from "../reasons.ts";
import type { Link } from "../vlan-tags.ts";
import type { EcnField } from "./congestion.ts";
import type { AgentVariant } from "./variant.ts";

/** An exit by reason: counts the packet under it, then passes or drops it. */
export type Leave = Readonly<Record<AgentReason, Exit>>;

export interface Agent {
  readonly p: FunctionBuilder;
  /** As it came in; its pointers are dead once a header was taken off. */
  readonly packet: Packet;
  /** Bytes of the frame as it came in. */
  readonly length: Value;
  readonly variant: AgentVariant;
  readonly leave: Leave;
  /** Room for keys of the maps; see `keys.ts`. */
  readonly key: Pointer;
  readonly link: Link;
  readonly form: AgentForm;
}

/** What an XDP frame and a socket buffer do differently. Each emits something. */
export interface AgentForm {
  /** Takes so many bytes off behind the link's header; goes on where that is done. */
  readonly strip: (headerBytes: number, inner: 4 | 6) => void;
  /** Tells the kernel of a change, 64 bits not folded, to a header that has no checksum of its own. */
  readonly headerChanged: (change: Value) => void;
  /** Changes the checksum of the transport header; pointers into the packet may be dead afterwards. */
  readonly changeTransport: (change: TransportChange) => void;
}

export interface TransportChange {
  readonly transport: Pointer;
  /** Where that is, from the Ethernet header on. */
  readonly offset: Value;
  /** 1 for TCP, 0 for UDP. */
  readonly isTcp: Value;
  /** What became of the addresses, as a sum of 64 bits not folded. */
  readonly change: Value;
}

/** The outer IP header, as what follows needs it. */
export interface Outer {
  readonly family: 4 | 6;
  /** Bytes of the outer packet, header and all. */
  readonly length: Value;
  /** Makes its source the key. */
  readonly storeSource: () => void;
  readonly ecn: EcnField;
}
