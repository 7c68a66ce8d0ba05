/**
 * From the headers to a flow: which service, are the lengths sound, which hash. IPv6 packets with
 * extension headers come here by a way of their own and join the straight one when they are a flow, so
 * it pays nothing for them.
 */
import type { Exit } from "../../bpf/function.ts";
import type { Value, Variable } from "../../bpf/value.ts";
import { Ethernet } from "../../packet/headers.ts";
import { emitFlowHash, type FlowTerm } from "../flow-hash.ts";
import { ForwardingCode, ServiceSlot } from "../layout.ts";
import type { Link } from "../vlan-tags.ts";
import type { Director, Flow } from "./context.ts";
import { emitFindService, type ServiceQuery } from "./find-service.ts";
import { emitTimeExceeded } from "./time-exceeded.ts";
import type { DirectorVariant } from "./variant.ts";

/** What the headers of one packet say. */
export interface Headers extends ServiceQuery {
  /** Emits the source address, as terms of the hash. */
  readonly source: () => readonly FlowTerm[];
  /** Emits the bytes of the IP packet, host order. */
  readonly ipLength: () => Value;
}

/** Where the ways of one family join: emit `join()` on each, then `flow()`. */
export class Junction {
  readonly #director: Director;
  readonly #link: Link;
  readonly #service: Variable;
  #slotOffset: number | null = null;
  readonly #hash: Variable;
  readonly #ipLength: Variable;
  /** Address and protocol of the transport header, where some forwarding asks for it. */
  readonly #transport: readonly [Variable, Variable] | null;

  constructor(director: Director, link: Link) {
    const { p, variant } = director;
    this.#director = director;
    this.#link = link;
    this.#service = p.variable(0, 8);
    this.#hash = p.variable(0);
    // In all bits: what comes in has no more than 17, and a cut would cost an instruction.
    this.#ipLength = p.variable(0, 8);
    this.#transport = looksAtTransport(variant) ? [p.variable(0, 8), p.variable(0)] : null;
  }

  /** Emits what makes a flow of a packet with these headers; `miss` is for one of no service. */
  join(headers: Headers, miss: Exit): void {
    const { p, leave, length, variant } = this.#director;
    const { ports, protocol } = headers;
    const found = emitFindService(this.#director, headers, miss);
    const ipLength = headers.ipLength();
    p.require(ipLength.ge(found.leastLength), leave.malformed);
    const frameLength = ipLength.add(Ethernet.size).add(this.#link.tagBytes);
    p.require(frameLength.le(length), leave.malformed);
    const source = headers.source();
    const portsTerm = 2 * source.length + 1;
    const terms: readonly FlowTerm[] = [...source, [portsTerm, found.sourcePort]];
    this.#hash.set(emitFlowHash(p, variant.hashKey, found.hashSum, terms));
    // Where it points to from there is a constant, and the same on all ways: it costs nothing later.
    this.#slotOffset ??= found.slot.offset;
    this.#service.set(found.slot.plus(-this.#slotOffset).address());
    this.#ipLength.set(ipLength.u64());
    this.#transport?.[0].set(ports.address());
    this.#transport?.[1].set(protocol);
  }

  flow(family: 4 | 6, trafficClass: () => Value): Flow {
    const { p } = this.#director;
    const link = this.#link;
    const expired = p.exit(() => emitTimeExceeded(this.#director, family, link));
    return {
      family,
      link,
      service: p
        .pointer(this.#service)
        .plus(this.#slotOffset ?? 0)
        .as(ServiceSlot),
      hash: this.#hash,
      ipLength: this.#ipLength.unchanged(4),
      trafficClass: trafficClass(),
      transport: () => {
        if (this.#transport === null)
          throw new Error("No forwarding of this variant has a transport");
        const [at, protocol] = this.#transport;
        return { at: p.pointer(at), protocol };
      },
      expired,
    };
  }
}

/** Whether some forwarding reads or changes what lies behind the IP header. */
const looksAtTransport = ({ features, tunnels }: DirectorVariant): boolean =>
  features.forwardings.includes(ForwardingCode.dscp) || tunnels.udpChecksum;
