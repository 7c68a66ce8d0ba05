/**
 * The agent's programs: they take the outer header off packets that a director sent for a VIP of this
 * host, and leave everything else as it is. The host's stack then sees what the client sent, on the
 * interface it came in by, so no tunnel device and no reverse path filter is in the way.
 *
 *     outer.ts     which tunnel is it
 *     inner.ts     from a director of ours, for a VIP of ours, sound
 *     restore.ts   what came without a tunnel, by `dscp`
 *     xdp-form.ts, tc-form.ts   off with the outer header
 */
import type { FunctionBuilder } from "../../bpf/function.ts";
import { Helper } from "../../bpf/helpers.ts";
import type { Program } from "../../bpf/program.ts";
import { schedCls } from "../../bpf/skb.ts";
import type { Value } from "../../bpf/value.ts";
import { xdp, XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import { ETH_P_IP, ETH_P_IPV6, Ethernet, Ipv6, Udp } from "../../packet/headers.ts";
import { counterOffset, emitCount } from "../counters.ts";
import { agentReasons } from "../reasons.ts";
import { emitTags } from "../vlan-tags.ts";
import type { Agent, Leave } from "./context.ts";
import { KEYS_SIZE } from "./keys.ts";
import { emitOuterIpv4, emitOuterIpv6 } from "./outer.ts";
import { tcForm } from "./tc-form.ts";
import type { AgentVariant } from "./variant.ts";
import { xdpForm } from "./xdp-form.ts";

export const AGENT_PROGRAM = "carom_agent";
export const AGENT_TC_PROGRAM = "carom_agent_tc";

/** TCX verdicts (include/uapi/linux/bpf.h, enum tcx_action_base): on to the next program, or drop. */
export const TCX_NEXT = -1;
export const TCX_DROP = 2;

/** The agent in front of the kernel's stack. */
export function agentProgram(variant: AgentVariant): Program {
  return xdp(AGENT_PROGRAM, (p) => {
    const packet = p.packet();
    const length = packet.length();
    const leave = leaves(p, variant, length, { pass: XDP_PASS, drop: XDP_DROP });
    packet.require(Ethernet.size, leave.too_short);
    const link = emitTags({ p, packet, leave, variant });
    const form = xdpForm(p, { packet, leave, link });
    emitAgent({ p, packet, length, variant, leave, link, form, key: p.stack(KEYS_SIZE) });
  });
}

/**
 * The agent in the stack, before anything else there. A VLAN tag is beside the frame; a second one
 * is not looked behind, since headers cannot be taken off there.
 */
export function agentTcProgram(variant: AgentVariant): Program {
  return schedCls(AGENT_TC_PROGRAM, (p) => {
    const length = p.context.length.read();
    const leave = leaves(p, variant, length, { pass: TCX_NEXT, drop: TCX_DROP });
    const start = p.packet();
    // What is read lies in one piece, or is made to.
    p.if(start.length().lt(HEADERS_MAX), () => {
      p.if(start.length().lt(length), () => {
        const wanted = p.variable(length);
        p.if(wanted.gt(HEADERS_MAX), () => wanted.set(HEADERS_MAX));
        p.call(Helper.skbPullData, p.contextRegister, wanted);
      });
    });
    const packet = p.packet();
    packet.require(Ethernet.size, leave.too_short);
    if (variant.vlanTags === 0) p.require(p.context.vlanPresent.eq(0), leave.not_encapsulated);
    const link = emitTags({ p, packet, leave, variant: { vlanTags: 0 } });
    const form = tcForm(p, { leave });
    emitAgent({ p, packet, length, variant, leave, link, form, key: p.stack(KEYS_SIZE) });
  });
}

/** Ethernet, the longest outer and inner headers and all of TCP's: more is never read. */
const HEADERS_MAX = Ethernet.size + Ipv6.size + Udp.size + 4 + 60 + 20;

function leaves(
  p: FunctionBuilder,
  { maps }: AgentVariant,
  length: Value,
  verdicts: { readonly pass: number; readonly drop: number },
): Leave {
  return Object.fromEntries(
    agentReasons.map(({ name, fate }, index) => [
      name,
      p.exit(() => {
        emitCount(p, maps.counters, length, [counterOffset(index)]);
        p.return(fate === "dropped" ? verdicts.drop : verdicts.pass);
      }),
    ]),
  ) as Leave;
}

function emitAgent(agent: Agent): void {
  const { p, leave, link } = agent;
  p.if(link.etherType.eq(ETH_P_IP), () => emitOuterIpv4(agent));
  p.require(link.etherType.eq(ETH_P_IPV6), leave.not_encapsulated);
  emitOuterIpv6(agent);
}
