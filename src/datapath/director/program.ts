/**
 * The director's XDP program, top to bottom: whose frame is it, which service, which backend, out.
 *
 *     parse.ts          headers, and what cannot be read
 *     service-index.ts  destination, port, protocol → service
 *     select.ts         flow hash → bucket → member → next hop
 *     forward.ts        MACs, outer header, transmit
 *
 * On the straight path, with settled buckets, `l2` calls no helper and `ipip` one
 * (`bpf_xdp_adjust_head`); the kernel inlines the number of the CPU. A forwarded packet is counted for
 * its service and its member: `forwarded` is the sum of the services.
 */
import type { Program } from "../../bpf/program.ts";
import { xdp, XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import { ArenaAccess } from "../arena.ts";
import { counterOffset, emitCount } from "../counters.ts";
import { directorReasons } from "../reasons.ts";
import { emitForward } from "./forward.ts";
import type { Director, Leave } from "./context.ts";
import { emitParse } from "./parse.ts";
import { emitSelect } from "./select.ts";
import type { DirectorVariant } from "./variant.ts";

export const DIRECTOR_PROGRAM = "carom_director";

export function directorProgram(variant: DirectorVariant): Program {
  return xdp(DIRECTOR_PROGRAM, (p) => {
    const packet = p.packet();
    const length = packet.length();
    /** Offset of the reason's counter. */
    const reason = p.variable(0);
    const pass = p.exit(() => {
      emitCount(p, variant.maps.counters, length, [reason]);
      p.return(XDP_PASS);
    });
    const drop = p.exit(() => {
      emitCount(p, variant.maps.counters, length, [reason]);
      p.return(XDP_DROP);
    });
    const leave = Object.fromEntries(
      directorReasons.map(({ name, fate }, index) => [
        name,
        p.exit(() => {
          reason.set(counterOffset(index));
          p.goto(fate === "passed" ? pass : drop);
        }),
      ]),
    ) as Leave;

    const director: Director = {
      p,
      packet,
      length,
      arena: new ArenaAccess(p, variant.maps.arena),
      leave,
      variant,
    };
    emitParse(director, (flow) => emitForward(director, flow, emitSelect(director, flow)));
  });
}
