/** The IPv4 header and its options (RFC 791). */
import { IP_MF, IP_OFFSET, Ipv4, Udp } from "../../packet/headers.ts";
import type { Link } from "../vlan-tags.ts";
import type { Director, Flow } from "./context.ts";
import { emitRequireVip } from "./find-service.ts";
import { Junction } from "./flow.ts";

/** Behind every header there must be this much in the frame: both ports, and the shortest transport header. */
const LEAST = Udp.size;

export function emitIpv4(director: Director, link: Link): Flow {
  const { p, packet, leave } = director;
  const { net } = link;
  packet.require(Ipv4.size + LEAST, leave.too_short, net);
  const ip = net.as(Ipv4);
  const destination = ip.destination.read();
  const versionIhl = ip.versionIhl.read();
  const vip = {
    family: 4 as const,
    address: [destination] as const,
    addressAt: net.plus(Ipv4.offsets.destination),
  };
  // Where the frame would begin if options took no room, and the least length: moving these two is all
  // that options do, and setting them all that a packet without pays.
  const start = p.variable(net.plus(-net.offset).address(), 8);
  const leastLength = p.variable(Ipv4.size + LEAST);
  const ports = p.pointer(start).plus(net.offset + Ipv4.size);
  p.block((joined) => {
    const fragment = p.exit(() => {
      emitRequireVip(director, vip, leave.not_a_service);
      p.goto(leave.fragment);
    });
    const options = p.exit(() => {
      p.require(versionIhl.gt(0x45), leave.not_a_service);
      p.require(versionIhl.le(0x4f), leave.not_a_service);
      p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), fragment);
      emitRequireVip(director, vip, leave.not_a_service);
      const optionBytes = versionIhl.sub(0x45).and(0xf).shl(2);
      start.set(start.add(optionBytes.u64()));
      leastLength.set(optionBytes.add(Ipv4.size + LEAST));
      packet.require(LEAST, leave.malformed, ports);
      p.goto(joined);
    });
    p.require(versionIhl.eq(0x45), options);
    p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), fragment);
  });
  const junction = new Junction(director, link);
  const headers = {
    ...vip,
    ports,
    protocol: ip.protocol.read(),
    source: () => [[1, ip.source.read()]] as const,
    ipLength: () => ip.totalLength.read().toHost(),
    leastLength,
  };
  junction.join(headers, leave.not_a_service);
  return junction.flow(4, () => ip.tos.read());
}
