/**
 * The agent's XDP program: takes the outer header off packets that a director sent for a VIP of this
 * host, and leaves everything else as it is. The host's stack then sees what the client sent, on the
 * interface it came in by, so no tunnel device and no reverse path filter is in the way.
 *
 *     outer.ts     which tunnel is it
 *     inner.ts     from a director of ours, for a VIP of ours, sound
 *     strip.ts     off with the outer header
 *     restore.ts   what came without a tunnel, by `dscp`
 */
import type { Program } from "../../bpf/program.ts";
import { xdp, XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import { ETH_P_IP, ETH_P_IPV6, Ethernet } from "../../packet/headers.ts";
import { counterOffset, emitCount } from "../counters.ts";
import { agentReasons } from "../reasons.ts";
import { emitTags } from "../vlan-tags.ts";
import type { Agent, Leave } from "./context.ts";
import { KEYS_SIZE } from "./keys.ts";
import { emitOuterIpv4, emitOuterIpv6 } from "./outer.ts";
import { emitStrip } from "./strip.ts";
import type { AgentVariant } from "./variant.ts";

export const AGENT_PROGRAM = "carom_agent";

export function agentProgram(variant: AgentVariant): Program {
  return xdp(AGENT_PROGRAM, (p) => {
    const packet = p.packet();
    const length = packet.length();
    const leave = Object.fromEntries(
      agentReasons.map(({ name, fate }, index) => [
        name,
        p.exit(() => {
          emitCount(p, variant.maps.counters, length, [counterOffset(index)]);
          p.return(fate === "dropped" ? XDP_DROP : XDP_PASS);
        }),
      ]),
    ) as Leave;
    packet.require(Ethernet.size, leave.too_short);
    const link = emitTags({ p, packet, leave, variant });
    const frame = { packet, leave, link };
    const agent: Agent = {
      ...frame,
      p,
      length,
      variant,
      key: p.stack(KEYS_SIZE),
      strip: (headerBytes, _, inner) => emitStrip(p, frame, headerBytes, inner),
    };
    p.if(link.etherType.eq(ETH_P_IP), () => emitOuterIpv4(agent));
    p.require(link.etherType.eq(ETH_P_IPV6), leave.not_encapsulated);
    emitOuterIpv6(agent);
  });
}
