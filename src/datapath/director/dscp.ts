/**
 * Layer 3 direct server return without a tunnel: the destination becomes the backend's address, and the
 * DSCP says which VIP it was. The backend puts the VIP back; what the client's own DSCP was is lost.
 * Checksums are changed with what they cover (RFC 1624), so that the packet is sound on its way.
 */
import type { Value } from "../../bpf/value.ts";
import {
  INET_ECN_MASK,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Tcp,
  Udp,
} from "../../packet/headers.ts";
import { complementOf, emitChangeChecksum } from "../checksum.ts";
import type { Chosen, Director, Flow } from "./context.ts";
import { emitRequireHop } from "./hop-limit.ts";

/** Readdresses the packet; it is then ready to leave. */
export function emitReaddress(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, packet, arena, leave } = director;
  const { link, service, family } = flow;
  emitRequireHop(director, flow);
  p.require(flow.ipLength.le(chosen.member.mtu), leave.too_big);
  const transport = flow.transport();
  const isTcp = p.variable(0);
  p.if(transport.protocol.eq(IPPROTO_TCP), () => {
    isTcp.set(1);
    packet.require(Tcp.size, leave.malformed, transport.at);
    const behind = transport.at.address().unchanged(4).sub(link.net.address().unchanged(4));
    p.require(flow.ipLength.ge(behind.add(Tcp.size)), leave.malformed);
  });
  const codePoint = arena.pointer(1, service.codePoints.read().add(chosen.owner)).place(1).read();
  const trafficClass = codePoint.shl(2).or(flow.trafficClass.and(INET_ECN_MASK));
  const changed =
    family === 4 ? emitIpv4(flow, chosen, trafficClass) : emitIpv6(flow, chosen, trafficClass);
  p.if(
    isTcp.ne(0),
    () => emitChangeChecksum(transport.at.plus(Tcp.offsets.checksum), changed),
    () => {
      p.if(transport.protocol.eq(IPPROTO_UDP), () => {
        const field = transport.at.plus(Udp.offsets.checksum);
        p.if(field.place(2).read().ne(0), () => {
          emitChangeChecksum(field, changed);
          p.if(field.place(2).read().eq(0), () => field.place(2).set(0xffff));
        });
      });
    },
  );
}

/** Returns what the change of address adds to a sum, as 64 bits not folded. */
function emitIpv4({ link }: Flow, { member }: Chosen, trafficClass: Value): Value {
  const ip = link.net.as(Ipv4);
  const address = link.net.plus(Ipv4.offsets.destination).place(4);
  const before = address.read();
  const after = member.destination.word(0, 4).read();
  address.set(after);
  const ofAddress = complementOf(before).add(after.u64());
  // The words with TOS and TTL, as they were and as they are.
  const words = [0, Ipv4.offsets.ttl].map((at) => link.net.plus(at).place(2));
  const wordsBefore = words.map((word) => word.read().u32());
  ip.tos.set(trafficClass);
  ip.ttl.set(ip.ttl.sub(1));
  const ofHeader = words.reduce(
    (sum, word, index) => sum.add(complementOf(wordsBefore[index] as Value)).add(word.read().u64()),
    ofAddress,
  );
  emitChangeChecksum(link.net.plus(Ipv4.offsets.checksum), ofHeader);
  return ofAddress;
}

function emitIpv6({ link }: Flow, { member }: Chosen, trafficClass: Value): Value {
  const ip = link.net.as(Ipv6);
  // Version and flow label around the eight bits, in the first and the second byte.
  const start = link.net.place(2, "network");
  const before = start.read().toHost();
  start.set(before.and(0xf00f).or(trafficClass.shl(4)).toNetwork(2));
  ip.hopLimit.set(ip.hopLimit.sub(1));
  const changes = [0, 4, 8, 12].map((at) => {
    const word = ip.destination.word(at, 4);
    const [was, is] = [word.read(), member.destination.word(at, 4).read()];
    word.set(is);
    return complementOf(was).add(is.u64());
  });
  return changes.reduce((sum, change) => sum.add(change));
}
