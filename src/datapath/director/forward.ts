/** The ways a packet leaves, by what its member says. */
import { Helper } from "../../bpf/helpers.ts";
import { XDP_TX } from "../../bpf/xdp.ts";
import { emitCount } from "../counters.ts";
import { FORWARDING_MASK, ForwardingCode, wayOf } from "../layout.ts";
import type { Chosen, Director, Flow } from "./context.ts";
import { emitReaddress } from "./dscp.ts";
import { emitRelabel } from "./frame.ts";
import { emitEncapsulate, type TunnelKind } from "./tunnel.ts";

/** Sends the packet the way its member says, the likeliest asked for first. */
export function emitForward(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, leave, variant } = director;
  const { forwardings } = variant.features;
  const way = chosen.member.way.read();
  if (forwardings.includes(ForwardingCode.l2)) {
    const here = wayOf(ForwardingCode.l2, variant.ifindex);
    p.if(way.eq(here | 0), () => emitL2(director, flow, chosen));
  }
  const forwarding = way.and(FORWARDING_MASK);
  for (const { code, kind, outer } of tunnels) {
    if (!forwardings.includes(code)) continue;
    p.if(forwarding.eq(code), () => {
      emitEncapsulate(director, flow, chosen, { kind, outer });
      emitSend(director, flow, chosen);
    });
  }
  if (forwardings.includes(ForwardingCode.dscp)) {
    p.if(forwarding.eq(ForwardingCode.dscp), () => {
      emitReaddress(director, flow, chosen);
      emitRelabel(director, flow, chosen);
      emitSend(director, flow, chosen);
    });
  }
  if (forwardings.includes(ForwardingCode.l2)) {
    p.if(forwarding.eq(ForwardingCode.l2), () => emitL2Elsewhere(director, flow, chosen));
  }
  p.goto(leave.internal);
}

const tunnels: readonly {
  readonly code: ForwardingCode;
  readonly kind: TunnelKind;
  readonly outer: 4 | 6;
}[] = [
  { code: ForwardingCode.ipipOverIpv4, kind: "ipip", outer: 4 },
  { code: ForwardingCode.ipipOverIpv6, kind: "ipip", outer: 6 },
  { code: ForwardingCode.greOverIpv4, kind: "gre", outer: 4 },
  { code: ForwardingCode.greOverIpv6, kind: "gre", outer: 6 },
  { code: ForwardingCode.fouOverIpv4, kind: "fou", outer: 4 },
  { code: ForwardingCode.fouOverIpv6, kind: "fou", outer: 6 },
  { code: ForwardingCode.gueOverIpv4, kind: "gue", outer: 4 },
  { code: ForwardingCode.gueOverIpv6, kind: "gue", outer: 6 },
];

/** By this interface, whose MAC is the source. */
function emitL2(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, packet, variant } = director;
  if (variant.vlanTags === 0) {
    const { mac } = variant;
    packet.data.place(8).set(chosen.addresses);
    const rest = new DataView(mac.buffer, mac.byteOffset, mac.byteLength).getInt32(2, true);
    packet.data.plus(8).place(4).set(rest);
  } else {
    emitRelabel(director, flow, chosen);
  }
  emitForwarded(director, flow, chosen);
  p.return(XDP_TX);
}

function emitL2Elsewhere(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, leave } = director;
  // What came in by this interface fits it; another's driver would drop what it cannot take unseen.
  p.require(flow.ipLength.le(chosen.member.mtu), leave.too_big);
  emitRelabel(director, flow, chosen);
  emitForwarded(director, flow, chosen);
  p.return(p.call(Helper.redirect, chosen.nextHop.ifindex.read().u64(), 0));
}

/** Sends the packet on: back out of this interface or by another. */
function emitSend(director: Director, flow: Flow, chosen: Chosen): void {
  const { p, variant } = director;
  // Counted before it is asked where to: one stretch of code for both.
  emitForwarded(director, flow, chosen);
  const ifindex = chosen.nextHop.ifindex.read();
  const elsewhere = p.exit(() => p.return(p.call(Helper.redirect, ifindex.u64(), 0)));
  p.leaveIf(ifindex.ne(variant.ifindex), elsewhere);
  p.return(XDP_TX);
}

function emitForwarded(
  { p, length, variant }: Director,
  { service }: Flow,
  { member }: Chosen,
): void {
  emitCount(p, variant.maps.counters, length, [service.counter.read(), member.counter.read()]);
}
