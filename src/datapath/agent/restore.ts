/**
 * Layer 3 DSR without a tunnel: a director made this host's address the destination, and the DSCP says
 * which VIP it was (`director/dscp.ts`). The VIP is put back, the DSCP becomes 0, and checksums change
 * with what they cover (RFC 1624).
 */
import type { Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import {
  Ethernet,
  INET_ECN_MASK,
  IP_MF,
  IP_OFFSET,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Tcp,
  Udp,
} from "../../packet/headers.ts";
import { complementOf, emitChangeChecksum } from "../checksum.ts";
import type { Agent } from "./context.ts";
import { emitNamedVip, storeIpv4Key, storeIpv6Key } from "./keys.ts";

/** What is no tunnel: emits the change, where some address of the family is forwarded to by `dscp`. */
export function emitRestore(agent: Agent, family: 4 | 6, protocol: Value): void {
  const { p, leave, variant } = agent;
  if (family === 4 ? variant.dscp.ipv4 : variant.dscp.ipv6) {
    if (family === 4) emitRestoreIpv4(agent, protocol);
    else emitRestoreIpv6(agent, protocol);
    p.goto(leave.restored);
  } else {
    p.goto(leave.not_encapsulated);
  }
}

function emitRestoreIpv4(agent: Agent, protocol: Value): void {
  const { p, leave, link } = agent;
  const header = link.net.as(Ipv4);
  const tos = header.tos.read();
  const codePoint = tos.shr(2);
  p.leaveIf(codePoint.eq(0), leave.not_encapsulated);
  const isTcp = emitRequireTransport(agent, protocol);
  p.leaveIf(header.flagsFragment.has(IP_MF | IP_OFFSET), leave.not_encapsulated);
  const headerBytes = header.versionIhl.and(0xf).shl(2);
  p.require(header.versionIhl.shr(4).eq(4), leave.not_encapsulated);
  p.require(headerBytes.ge(Ipv4.size), leave.not_encapsulated);
  storeIpv4Key(agent, header.destination.read());
  const vip = emitNamedVip(agent, codePoint, leave.not_encapsulated);
  const ends = { isTcp, headerBytes, length: header.totalLength.read().toHost() };
  const transport = emitTransport(agent, ends);

  const [before, after] = [header.destination.read().raw(), vip.plus(12).place(4).read()];
  const start = link.net.place(2);
  const startBefore = start.read().u32();
  header.destination.set(after.asNetwork());
  header.tos.set(tos.and(INET_ECN_MASK));
  const ofAddress = complementOf(before).add(after.u64());
  const ofStart = complementOf(startBefore).add(start.read().u64());
  emitChangeChecksum(link.net.plus(Ipv4.offsets.checksum), ofAddress.add(ofStart));
  emitChangeTransport(agent, transport, isTcp, headerBytes, ofAddress);
}

function emitRestoreIpv6(agent: Agent, protocol: Value): void {
  const { p, leave, link } = agent;
  const header = link.net.as(Ipv6);
  const start = link.net.place(2, "network");
  const startBefore = start.read().toHost();
  const codePoint = startBefore.shr(6).and(0x3f);
  p.leaveIf(codePoint.eq(0), leave.not_encapsulated);
  const isTcp = emitRequireTransport(agent, protocol);
  storeIpv6Key(agent, header.destination);
  const vip = emitNamedVip(agent, codePoint, leave.not_encapsulated);
  const length = header.payloadLength.read().toHost().add(Ipv6.size);
  const transport = emitTransport(agent, { isTcp, headerBytes: p.constant(Ipv6.size), length });

  const startWord = link.net.place(2).read().u32();
  start.set(startBefore.and(0xf03f).toNetwork(2));
  const changes = [0, 4, 8, 12].map((at) => {
    const word = header.destination.word(at, 4);
    const [before, after] = [word.read(), vip.plus(at).place(4).read()];
    word.set(after);
    return complementOf(before).add(after.u64());
  });
  const change = changes.reduce((sum, each) => sum.add(each));
  const startChange = complementOf(startWord).add(link.net.place(2).read().u64());
  agent.form.headerChanged(change.add(startChange));
  emitChangeTransport(agent, transport, isTcp, p.constant(Ipv6.size), change);
}

/** TCP or UDP: whether it is TCP. Directors forward nothing else so. */
function emitRequireTransport({ p, leave }: Agent, protocol: Value): Value {
  const isTcp = p.variable(1);
  p.if(protocol.ne(IPPROTO_TCP), () => {
    p.require(protocol.eq(IPPROTO_UDP), leave.not_encapsulated);
    isTcp.set(0);
  });
  return isTcp;
}

/** Goes on where the whole transport header is there. */
function emitTransport(
  { p, packet, length, leave, link }: Agent,
  ip: { readonly isTcp: Value; readonly headerBytes: Value; readonly length: Value },
): Pointer {
  const at = link.net.plus(ip.headerBytes.u64());
  p.require(ip.length.add(Ethernet.size).add(link.tagBytes).le(length), leave.malformed);
  packet.require(Udp.size, leave.malformed, at);
  p.require(ip.length.ge(ip.headerBytes.add(Udp.size)), leave.malformed);
  p.if(ip.isTcp.ne(0), () => {
    packet.require(Tcp.size, leave.malformed, at);
    p.require(ip.length.ge(ip.headerBytes.add(Tcp.size)), leave.malformed);
  });
  return at;
}

function emitChangeTransport(
  { packet, leave, link, form }: Agent,
  transport: Pointer,
  isTcp: Value,
  headerBytes: Value,
  change: Value,
): void {
  packet.require(Udp.size, leave.malformed, transport);
  const offset = headerBytes.add(Ethernet.size).add(link.tagBytes);
  form.changeTransport({ transport, offset, isTcp, change });
}
