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
  packet.require(Ipv4.size + LEAST, leave.too_short, link.net);
  const ip = link.net.as(Ipv4);
  const junction = new Junction(director, link);
  p.block((joined) => {
    const destination = ip.destination.read();
    const versionIhl = ip.versionIhl.read();
    const address = [destination] as const;
    const headersAt = (headerBytes: number | ReturnType<typeof headerLength>) => ({
      family: 4 as const,
      address,
      addressAt: link.net.plus(Ipv4.offsets.destination),
      ports: link.net.plus(headerBytes),
      protocol: ip.protocol.read(),
      source: () => [[1, ip.source.read()]] as const,
      ipLength: () => ip.totalLength.read().toHost(),
      headerBytes,
    });
    const headerLength = () => versionIhl.and(0xf).shl(2);
    const fragment = p.exit(() => {
      emitRequireVip(director, headersAt(Ipv4.size), leave.not_a_service);
      p.goto(leave.fragment);
    });
    const options = p.exit(() => {
      p.require(versionIhl.gt(0x45), leave.not_a_service);
      p.require(versionIhl.le(0x4f), leave.not_a_service);
      p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), fragment);
      const headers = headersAt(headerLength());
      emitRequireVip(director, headers, leave.not_a_service);
      packet.require(LEAST, leave.malformed, headers.ports);
      junction.join(headers, leave.not_a_service);
      p.goto(joined);
    });
    p.require(versionIhl.eq(0x45), options);
    p.leaveIf(ip.flagsFragment.has(IP_MF | IP_OFFSET), fragment);
    junction.join(headersAt(Ipv4.size), leave.not_a_service);
  });
  return junction.flow(4, () => ip.tos.read());
}
