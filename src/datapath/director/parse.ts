/** From the frame to a flow of one of our services. What is not ours leaves untouched. */
import { any } from "../../bpf/value.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  IP_MF,
  IP_OFFSET,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ROUTING,
  Ipv4,
  Ipv6,
  Udp,
} from "../../packet/headers.ts";
import { emitFlowHash, type FlowTerm } from "../flow-hash.ts";
import type { Director, Flow } from "./context.ts";
import { emitLookupIpv4, emitLookupIpv6, VIP_PROTOCOL } from "./service-index.ts";

/** Offset of the two ports from the start of TCP or UDP, and the least we must see of either. */
const LEAST_TRANSPORT = Udp.size;

/** Emits the parser; `forward` is called once for each family that services have. */
export function emitParse(director: Director, forward: (flow: Flow) => void): void {
  const { p, packet, leave, variant } = director;
  packet.require(Ethernet.size, leave.too_short);
  const ethernet = packet.data.as(Ethernet);
  const own = new DataView(variant.mac.buffer, variant.mac.byteOffset, variant.mac.byteLength);
  p.require(ethernet.destination.word(0, 4).eq(own.getUint32(0, true)), leave.not_for_us);
  p.require(ethernet.destination.word(4, 2).eq(own.getUint16(4, true)), leave.not_for_us);
  const etherType = ethernet.etherType.read();
  if (variant.features.ipv4) {
    p.if(etherType.eq(ETH_P_IP), () => emitIpv4(director, forward));
  } else {
    p.leaveIf(etherType.eq(ETH_P_IP), leave.not_a_service);
  }
  if (variant.features.ipv6) {
    p.require(etherType.eq(ETH_P_IPV6), leave.not_ip);
    emitIpv6(director, forward);
  } else {
    p.leaveIf(etherType.eq(ETH_P_IPV6), leave.not_a_service);
    p.goto(leave.not_ip);
  }
}

function emitIpv4(director: Director, forward: (flow: Flow) => void): void {
  const { p, packet, length, leave, variant } = director;
  packet.require(Ethernet.size + Ipv4.size + LEAST_TRANSPORT, leave.too_short);
  const ip = packet.data.plus(Ethernet.size).as(Ipv4);
  const ports = packet.data.plus(Ethernet.size + Ipv4.size);
  const destination = ip.destination.read();
  const versionIhl = ip.versionIhl.read();

  // Packets whose ports are not where we look: ours are dropped, never half forwarded.
  const isVip = (): ReturnType<typeof emitLookupIpv4> =>
    emitLookupIpv4(director, {
      destination,
      port: p.constant(0),
      protocol: p.constant(VIP_PROTOCOL),
    });
  const options = p.exit(() => {
    p.require(versionIhl.gt(0x45), leave.not_a_service);
    p.require(versionIhl.le(0x4f), leave.not_a_service);
    p.require(isVip().found, leave.not_a_service);
    p.goto(leave.ip_options);
  });
  const fragment = p.exit(() => {
    p.require(isVip().found, leave.not_a_service);
    p.goto(leave.fragment);
  });
  p.require(versionIhl.eq(0x45), options);
  p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), fragment);

  const protocol = ip.protocol.read();
  const service = emitLookupIpv4(director, {
    destination,
    port: ports.plus(2).place(2).read(),
    protocol,
  });
  p.require(service.found, leave.not_a_service);

  const ipLength = ip.totalLength.read().toHost();
  p.require(ipLength.ge(Ipv4.size + LEAST_TRANSPORT), leave.malformed);
  p.require(ipLength.add(Ethernet.size).le(length), leave.malformed);
  const hash = emitFlowHash(p, variant.hashKey, service.slot.hashSum.read(), [
    [1, ip.source.read()],
    [3, ports.place(2).read()],
  ]);
  forward({ family: 4, service: service.slot, hash, ipLength, trafficClass: ip.tos.read() });
}

function emitIpv6(director: Director, forward: (flow: Flow) => void): void {
  const { p, packet, length, leave, variant } = director;
  packet.require(Ethernet.size + Ipv6.size + LEAST_TRANSPORT, leave.too_short);
  const ip = packet.data.plus(Ethernet.size).as(Ipv6);
  const ports = packet.data.plus(Ethernet.size + Ipv6.size);
  const high = ip.destination.word(0, 8).read();
  const low = ip.destination.word(8, 8).read();
  const nextHeader = ip.nextHeader.read();

  const toVip = (then: "fragment" | "ip_options") =>
    p.exit(() => {
      const vip = emitLookupIpv6(director, {
        high,
        low,
        port: p.constant(0),
        protocol: p.constant(VIP_PROTOCOL),
      });
      p.require(vip.found, leave.not_a_service);
      p.goto(leave[then]);
    });
  const miss = p.exit(() => {
    p.leaveIf(nextHeader.eq(IPPROTO_FRAGMENT), toVip("fragment"));
    const extension = any(
      nextHeader.eq(IPPROTO_HOPOPTS),
      nextHeader.eq(IPPROTO_ROUTING),
      nextHeader.eq(IPPROTO_DSTOPTS),
    );
    p.leaveIf(extension, toVip("ip_options"));
    p.goto(leave.not_a_service);
  });
  const service = emitLookupIpv6(director, {
    high,
    low,
    port: ports.plus(2).place(2).read(),
    protocol: nextHeader,
  });
  p.require(service.found, miss);

  const versionClassFlow = ip.versionClassFlow.read().toHost();
  p.require(versionClassFlow.shr(28).eq(6), leave.malformed);
  const payloadLength = ip.payloadLength.read().toHost();
  p.require(payloadLength.ge(LEAST_TRANSPORT), leave.malformed);
  const ipLength = payloadLength.add(Ipv6.size);
  p.require(ipLength.add(Ethernet.size).le(length), leave.malformed);
  const hash = emitFlowHash(p, variant.hashKey, service.slot.hashSum.read(), [
    ...[0, 4, 8, 12].map((at, index): FlowTerm => [index + 1, ip.source.word(at, 4).read()]),
    [9, ports.place(2).read()],
  ]);
  const trafficClass = versionClassFlow.shr(20).and(0xff);
  forward({ family: 6, service: service.slot, hash, ipLength, trafficClass });
}
