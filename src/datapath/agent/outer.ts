/** The outer header, and what lies between it and the inner packet: which tunnel is it. */
import type { Exit } from "../../bpf/function.ts";
import { any, type Condition, type Value } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  IP_MF,
  IP_OFFSET,
  IPPROTO_GRE,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Udp,
} from "../../packet/headers.ts";
import { ecnOfIpv4, ecnOfIpv6 } from "./congestion.ts";
import type { Agent, Outer } from "./context.ts";
import { emitInner } from "./inner.ts";
import { emitRequireDirector, storeIpv4Key, storeIpv6Key } from "./keys.ts";
import { emitRestore } from "./restore.ts";

export function emitOuterIpv4(agent: Agent): void {
  const { p, packet, leave, link } = agent;
  packet.require(Ipv4.size, leave.too_short, link.net);
  const header = link.net.as(Ipv4);
  const protocol = header.protocol.read();
  const plain = p.exit(() => emitRestore(agent, 4, protocol));
  emitRequireTunnel(agent, protocol, plain);
  // Directors send neither options nor fragments; whoever does is not one.
  p.require(header.versionIhl.eq(0x45), leave.not_encapsulated);
  p.leaveIf(header.flagsFragment.has(IP_MF | IP_OFFSET), leave.not_encapsulated);
  const outer: Outer = {
    family: 4,
    length: header.totalLength.read().toHost(),
    storeSource: () => storeIpv4Key(agent, header.source.read()),
    ecn: ecnOfIpv4(header),
  };
  emitTunnel(agent, outer, protocol, link.net.plus(Ipv4.size), plain);
}

export function emitOuterIpv6(agent: Agent): void {
  const { p, packet, leave, link } = agent;
  packet.require(Ipv6.size, leave.too_short, link.net);
  const header = link.net.as(Ipv6);
  p.require(header.versionClassFlow.read().toHost().shr(28).eq(6), leave.not_encapsulated);
  const nextHeader = header.nextHeader.read();
  const plain = p.exit(() => emitRestore(agent, 6, nextHeader));
  emitRequireTunnel(agent, nextHeader, plain);
  const outer: Outer = {
    family: 6,
    length: header.payloadLength.read().toHost().add(Ipv6.size),
    storeSource: () => storeIpv6Key(agent, header.source),
    ecn: ecnOfIpv6(link.net, agent.form),
  };
  emitTunnel(agent, outer, nextHeader, link.net.plus(Ipv6.size), plain);
}

/** Goes on for the protocols that tunnels have; `plain` is for the rest of this host's traffic. */
function emitRequireTunnel({ p, variant: { kinds } }: Agent, protocol: Value, plain: Exit): void {
  const protocols = new Set(
    kinds.flatMap((kind) => {
      if (kind === "ipip") return [IPPROTO_IPIP, IPPROTO_IPV6];
      return kind === "gre" ? [IPPROTO_GRE] : [IPPROTO_UDP];
    }),
  );
  p.require(anyOf([...protocols].map((number) => protocol.eq(number))), plain);
}

const anyOf = (conditions: readonly Condition[]): Condition =>
  any(...(conditions as [Condition, ...Condition[]]));

/** `payload` is what the outer header carries. */
function emitTunnel(
  agent: Agent,
  outer: Outer,
  protocol: Value,
  payload: Pointer,
  plain: Exit,
): void {
  const { p, leave, variant } = agent;
  const { kinds } = variant;
  const headerBytes = outer.family === 4 ? Ipv4.size : Ipv6.size;
  /** What our directors do not send: an error when one did, else somebody else's tunnel. */
  const odd = p.exit(() => {
    outer.storeSource();
    emitRequireDirector(agent, leave.not_encapsulated);
    p.goto(leave.malformed);
  });
  const inner = (family: 4 | 6, shimBytes: number): void =>
    emitInner(agent, outer, family, {
      at: payload.plus(shimBytes),
      headerBytes: headerBytes + shimBytes,
    });
  if (kinds.includes("gre")) {
    p.if(protocol.eq(IPPROTO_GRE), () => {
      agent.packet.require(GRE_SIZE, leave.too_short, payload);
      // No checksum, no key, no sequence number, version 0 (RFC 2784 §2.1).
      p.require(payload.place(2).eq(0), odd);
      const etherType = payload.plus(2).place(2, "network").read();
      p.if(etherType.eq(ETH_P_IP), () => inner(4, GRE_SIZE));
      p.require(etherType.eq(ETH_P_IPV6), odd);
      inner(6, GRE_SIZE);
    });
  }
  if (kinds.includes("fou") || kinds.includes("gue")) {
    p.if(protocol.eq(IPPROTO_UDP), () => emitUdp(agent, payload, inner, { plain, odd }));
  }
  if (!kinds.includes("ipip")) {
    p.goto(leave.not_encapsulated);
    return;
  }
  p.if(protocol.eq(IPPROTO_IPIP), () => inner(4, 0));
  inner(6, 0);
}

const GRE_SIZE = 4;
const GUE_SIZE = 4;

function emitUdp(
  { p, packet, leave, variant: { kinds, ports } }: Agent,
  udp: Pointer,
  inner: (family: 4 | 6, shimBytes: number) => void,
  { plain, odd }: { readonly plain: Exit; readonly odd: Exit },
): void {
  packet.require(Udp.size, leave.too_short, udp);
  const port = udp.as(Udp).destinationPort.read();
  if (kinds.includes("fou")) {
    p.if(port.eq(ports.fouPort), () => inner(4, Udp.size));
    p.if(port.eq(ports.fouPortIpv6), () => inner(6, Udp.size));
  }
  if (!kinds.includes("gue")) {
    p.goto(plain);
    return;
  }
  p.require(port.eq(ports.guePort), plain);
  packet.require(Udp.size + GUE_SIZE, leave.too_short, udp);
  // Version 0, data, no optional fields, no flags; then the protocol inside alone decides.
  const gue = udp.plus(Udp.size).place(4, "network").read();
  p.if(gue.eq(IPPROTO_IPIP << 16), () => inner(4, Udp.size + GUE_SIZE));
  p.require(gue.eq(IPPROTO_IPV6 << 16), odd);
  inner(6, Udp.size + GUE_SIZE);
}
