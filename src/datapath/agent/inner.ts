/** The inner packet: may it come in, is it sound, and off with what is around it. */
import { any, type Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import { Ethernet, IPPROTO_IPIP, IPPROTO_IPV6, Ipv4, Ipv6 } from "../../packet/headers.ts";
import { ecnOfIpv4, ecnOfIpv6, emitCongestion } from "./congestion.ts";
import type { Agent, Outer } from "./context.ts";
import { emitAdmit, storeIpv4Key, storeIpv6Key } from "./keys.ts";

export function emitInner(
  agent: Agent,
  outer: Outer,
  family: 4 | 6,
  /** Where it begins, and the bytes of the headers around it. */
  { at, headerBytes }: { readonly at: Pointer; readonly headerBytes: number },
): void {
  const { p, packet, leave } = agent;
  packet.require(family === 4 ? Ipv4.size : Ipv6.size, leave.too_short, at);
  if (family === 4) {
    const header = at.as(Ipv4);
    emitAdmit(agent, () => storeIpv4Key(agent, header.destination.read()), outer.storeSource);
    p.require(header.versionIhl.shr(4).eq(4), leave.malformed);
    const length = header.totalLength.read().toHost();
    p.require(length.ge(Ipv4.size), leave.malformed);
    emitLengths(agent, outer, headerBytes, length);
    emitRefuseNested(agent, header.protocol.read());
    emitCongestion(p, leave, outer.ecn, ecnOfIpv4(header));
  } else {
    const header = at.as(Ipv6);
    emitAdmit(agent, () => storeIpv6Key(agent, header.destination), outer.storeSource);
    p.require(header.versionClassFlow.read().toHost().shr(28).eq(6), leave.malformed);
    emitLengths(agent, outer, headerBytes, header.payloadLength.read().toHost().add(Ipv6.size));
    emitRefuseNested(agent, header.nextHeader.read());
    emitCongestion(p, leave, outer.ecn, ecnOfIpv6(at, agent.form));
  }
  agent.form.strip(headerBytes, family);
  p.goto(leave.decapsulated);
}

function emitLengths(
  { p, length, leave, link }: Agent,
  outer: Outer,
  headerBytes: number,
  innerLength: Value,
): void {
  p.require(innerLength.add(headerBytes).le(outer.length), leave.malformed);
  p.require(outer.length.add(Ethernet.size).add(link.tagBytes).le(length), leave.malformed);
}

/** One tunnel is what directors make; a second inside would have passed by whoever looks at the first. */
function emitRefuseNested({ p, leave }: Agent, protocol: Value): void {
  p.leaveIf(any(protocol.eq(IPPROTO_IPIP), protocol.eq(IPPROTO_IPV6)), leave.nested);
}
