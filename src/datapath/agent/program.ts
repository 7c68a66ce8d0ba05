/**
 * The agent's XDP program: takes the outer header off packets that a director sent for a VIP of this
 * host, and leaves everything else as it is. The host's stack then sees what the client sent, on the
 * interface it came in by, so no tunnel device and no reverse path filter is in the way.
 */
import type { Exit } from "../../bpf/function.ts";
import { Helper } from "../../bpf/helpers.ts";
import type { Program } from "../../bpf/program.ts";
import type { Value } from "../../bpf/value.ts";
import type { BytesPlace, Pointer } from "../../bpf/view.ts";
import { type Packet, xdp, type XdpBuilder, XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_MF,
  IP_OFFSET,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  Ipv4,
  Ipv6,
} from "../../packet/headers.ts";
import { counterOffset, emitCount } from "../counters.ts";
import { agentReasonIndex, agentReasons, type AgentReason } from "../reasons.ts";
import { type EcnField, ecnOfIpv4, ecnOfIpv6, emitCongestion } from "./congestion.ts";
import { ADDRESS_KEY_SIZE, type AgentMaps } from "./maps.ts";

export const AGENT_PROGRAM = "carom_agent";

type Leave = Readonly<Record<AgentReason, Exit>>;

interface Agent {
  readonly p: XdpBuilder;
  readonly packet: Packet;
  readonly length: Value;
  readonly maps: AgentMaps;
  readonly leave: Leave;
  /** Room for a key of the address sets. */
  readonly key: Pointer;
}

/** The outer header, as what follows needs it. */
interface Outer {
  /** Its bytes. */
  readonly size: number;
  /** Bytes of the outer packet, header and all. */
  readonly length: Value;
  readonly storeSource: () => void;
  readonly ecn: EcnField;
}

export function agentProgram(maps: AgentMaps): Program {
  return xdp(AGENT_PROGRAM, (p) => {
    const packet = p.packet();
    const length = packet.length();
    const leave = Object.fromEntries(
      agentReasons.map(({ name, fate }, index) => [
        name,
        p.exit(() => {
          emitCount(p, maps.counters, length, [counterOffset(index)]);
          p.return(fate === "dropped" ? XDP_DROP : XDP_PASS);
        }),
      ]),
    ) as Leave;
    const agent: Agent = { p, packet, length, maps, leave, key: p.stack(ADDRESS_KEY_SIZE) };

    packet.require(Ethernet.size, leave.too_short);
    const etherType = packet.data.as(Ethernet).etherType.read();
    p.if(etherType.eq(ETH_P_IP), () => emitOuterIpv4(agent));
    p.require(etherType.eq(ETH_P_IPV6), leave.not_encapsulated);
    emitOuterIpv6(agent);
  });
}

function emitOuterIpv4(agent: Agent): void {
  const { p, packet, leave } = agent;
  packet.require(Ethernet.size + Ipv4.size, leave.too_short);
  const outer = packet.data.plus(Ethernet.size).as(Ipv4);
  const protocol = outer.protocol.read();
  p.if(protocol.ne(IPPROTO_IPIP), () =>
    p.require(protocol.eq(IPPROTO_IPV6), leave.not_encapsulated),
  );
  // Directors send neither options nor fragments; whoever does is not one.
  p.require(outer.versionIhl.eq(0x45), leave.not_encapsulated);
  p.leaveIf(outer.flagsFragment.has(IP_MF | IP_OFFSET), leave.not_encapsulated);
  const outerLength = outer.totalLength.read().toHost();
  const around: Outer = {
    size: Ipv4.size,
    length: outerLength,
    storeSource: () => storeIpv4Key(agent, outer.source.read()),
    ecn: ecnOfIpv4(outer),
  };
  p.if(
    protocol.eq(IPPROTO_IPIP),
    () => emitInnerIpv4(agent, around),
    () => emitInnerIpv6(agent, around),
  );
}

function emitOuterIpv6(agent: Agent): void {
  const { p, packet, leave } = agent;
  packet.require(Ethernet.size + Ipv6.size, leave.too_short);
  const outerAt = packet.data.plus(Ethernet.size);
  const outer = outerAt.as(Ipv6);
  p.require(outer.versionClassFlow.read().toHost().shr(28).eq(6), leave.not_encapsulated);
  const nextHeader = outer.nextHeader.read();
  p.if(nextHeader.ne(IPPROTO_IPIP), () =>
    p.require(nextHeader.eq(IPPROTO_IPV6), leave.not_encapsulated),
  );
  const outerLength = outer.payloadLength.read().toHost().add(Ipv6.size);
  const around: Outer = {
    size: Ipv6.size,
    length: outerLength,
    storeSource: () => storeIpv6Key(agent, outer.source),
    ecn: ecnOfIpv6(outerAt),
  };
  p.if(
    nextHeader.eq(IPPROTO_IPIP),
    () => emitInnerIpv4(agent, around),
    () => emitInnerIpv6(agent, around),
  );
}

function emitInnerIpv4(agent: Agent, outer: Outer): void {
  const { p, packet, leave } = agent;
  packet.require(Ethernet.size + outer.size + Ipv4.size, leave.too_short);
  const inner = packet.data.plus(Ethernet.size + outer.size).as(Ipv4);
  emitAdmit(agent, () => storeIpv4Key(agent, inner.destination.read()), outer.storeSource);
  p.require(inner.versionIhl.shr(4).eq(4), leave.malformed);
  const innerLength = inner.totalLength.read().toHost();
  p.require(innerLength.ge(Ipv4.size), leave.malformed);
  emitLengths(agent, outer, innerLength);
  emitCongestion(p, leave, outer.ecn, ecnOfIpv4(inner));
  emitDecapsulate(agent, outer.size, ETH_P_IP);
}

function emitInnerIpv6(agent: Agent, outer: Outer): void {
  const { p, packet, leave } = agent;
  packet.require(Ethernet.size + outer.size + Ipv6.size, leave.too_short);
  const innerAt = packet.data.plus(Ethernet.size + outer.size);
  const inner = innerAt.as(Ipv6);
  emitAdmit(agent, () => storeIpv6Key(agent, inner.destination), outer.storeSource);
  p.require(inner.versionClassFlow.read().toHost().shr(28).eq(6), leave.malformed);
  emitLengths(agent, outer, inner.payloadLength.read().toHost().add(Ipv6.size));
  emitCongestion(p, leave, outer.ecn, ecnOfIpv6(innerAt));
  emitDecapsulate(agent, outer.size, ETH_P_IPV6);
}

/** Goes on only for a VIP of ours from a director of ours. */
function emitAdmit({ p, maps, leave, key }: Agent, vip: () => void, source: () => void): void {
  const foreign = p.exit(() => {
    source();
    p.lookupAt(maps.directors, key, leave.not_a_vip);
    p.goto(leave.foreign_vip);
  });
  vip();
  p.lookupAt(maps.vips, key, foreign);
  source();
  p.lookupAt(maps.directors, key, leave.stranger);
}

function emitLengths({ p, length, leave }: Agent, outer: Outer, innerLength: Value): void {
  p.require(innerLength.add(outer.size).le(outer.length), leave.malformed);
  p.require(outer.length.add(Ethernet.size).le(length), leave.malformed);
}

function emitDecapsulate(
  { p, packet, length, leave, maps }: Agent,
  outerSize: number,
  etherType: number,
): void {
  const macs = [packet.data.place(8).read(), packet.data.plus(8).place(4).read()] as const;
  const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, outerSize);
  p.require(moved.u32().eq(0), leave.no_room);
  const decapsulated = p.packet();
  decapsulated.require(Ethernet.size, leave.no_room);
  decapsulated.data.place(8).set(macs[0]);
  decapsulated.data.plus(8).place(4).set(macs[1]);
  decapsulated.data.as(Ethernet).etherType.set(etherType);
  emitCount(p, maps.counters, length, [counterOffset(agentReasonIndex("decapsulated"))]);
  p.return(XDP_PASS);
}

/** `maps.ts` `addressKey`: an IPv4 address lies in the last four of the sixteen bytes. */
function storeIpv4Key({ key }: Agent, address: Value): void {
  key.place(8).set(0);
  key.plus(8).place(4).set(IPV4_MAPPED);
  key.plus(12).place(4).set(address.raw());
}

function storeIpv6Key({ key }: Agent, address: BytesPlace): void {
  key.place(8).set(address.word(0, 8));
  key.plus(8).place(8).set(address.word(8, 8));
}

/** Bytes 8 to 11 of an IPv4-mapped address, 00 00 ff ff, as a little-endian word. */
const IPV4_MAPPED = 0xffff0000;
