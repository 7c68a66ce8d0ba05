/** The IPv6 header and its extension headers (RFC 8200). */
import { any, type Condition, type Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import {
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ROUTING,
  Ipv6,
  Ipv6Extension,
  Udp,
} from "../../packet/headers.ts";
import type { FlowTerm } from "../flow-hash.ts";
import type { Link } from "../vlan-tags.ts";
import type { Director, Flow } from "./context.ts";
import { emitRequireVip } from "./find-service.ts";
import { Junction } from "./flow.ts";

/** Behind every header there must be this much in the frame: both ports, and the shortest transport header. */
const LEAST = Udp.size;
/** More extension headers than any sender of ours has a use for. */
const EXTENSIONS_MAX = 4;

export function emitIpv6(director: Director, link: Link): Flow {
  const { p, packet, leave } = director;
  packet.require(Ipv6.size + LEAST, leave.too_short, link.net);
  const ip = link.net.as(Ipv6);
  const versionClassFlow = (): Value => ip.versionClassFlow.read().toHost();
  const junction = new Junction(director, link);
  p.block((joined) => {
    const address = [ip.destination.word(0, 8).read(), ip.destination.word(8, 8).read()] as const;
    const headers = {
      family: 6 as const,
      address,
      addressAt: link.net.plus(Ipv6.offsets.destination),
      ports: link.net.plus(Ipv6.size),
      protocol: ip.nextHeader.read(),
      leastLength: (Ipv6.size + LEAST) as number | Value,
    };
    const source = (): readonly FlowTerm[] =>
      [0, 4, 8, 12].map((at, index) => [index + 1, ip.source.word(at, 4).read()]);
    const ipLength = (): Value => ip.payloadLength.read().toHost().add(Ipv6.size);
    const extended = p.exit(() => {
      emitRequireVip(director, headers, leave.not_a_service);
      p.leaveIf(headers.protocol.eq(IPPROTO_FRAGMENT), leave.fragment);
      const behind = emitExtensions(director, link, headers);
      junction.join({ ...headers, ...behind, source, ipLength }, leave.not_a_service);
      p.goto(joined);
    });
    // No service has these protocols by name: only packets without one of their own are asked.
    const leaveExtended = (): void =>
      p.leaveIf(
        () => any(isExtension(headers.protocol), headers.protocol.eq(IPPROTO_FRAGMENT)),
        extended,
      );
    const miss = p.exit(() => {
      if (director.variant.features.wideIpv6 === null) leaveExtended();
      p.goto(leave.not_a_service);
    });
    junction.join({ ...headers, source, ipLength, beforeSearch: leaveExtended }, miss);
  });
  p.require(versionClassFlow().shr(28).eq(6), leave.malformed);
  return junction.flow(6, () => versionClassFlow().shr(20).and(0xff));
}

/** Follows extension headers to what is behind them. */
function emitExtensions(
  { p, packet, leave }: Director,
  { net }: Link,
  first: { readonly ports: Pointer; readonly protocol: Value },
): { readonly ports: Pointer; readonly protocol: Value; readonly leastLength: Value } {
  const cursor = p.variable(first.ports.address(), 8);
  const next = p.variable(first.protocol, 4);
  p.block((done) => {
    for (let count = 0; count < EXTENSIONS_MAX; count += 1) {
      p.require(() => isExtension(next), done);
      packet.require(LEAST, leave.malformed, p.pointer(cursor));
      const header = p.pointer(cursor).as(Ipv6Extension);
      const size = header.length.read().add(1).shl(3);
      next.set(header.nextHeader.read());
      cursor.set(p.pointer(cursor).plus(size).address());
    }
  });
  p.leaveIf(() => isExtension(next), leave.ip_options);
  p.leaveIf(next.eq(IPPROTO_FRAGMENT), leave.fragment);
  const ports = p.pointer(cursor);
  packet.require(LEAST, leave.malformed, ports);
  const headerBytes = ports.address().unchanged(4).sub(net.address().unchanged(4));
  return { ports, protocol: next, leastLength: headerBytes.add(LEAST) };
}

const isExtension = (protocol: Value): Condition =>
  any(protocol.eq(IPPROTO_HOPOPTS), protocol.eq(IPPROTO_ROUTING), protocol.eq(IPPROTO_DSTOPTS));
