/** From the frame to a flow of one of our services. What is not ours leaves untouched. */
import { ETH_P_IP, ETH_P_IPV6 } from "../../packet/headers.ts";
import type { Director, Flow } from "./context.ts";
import { emitIpv4 } from "./ipv4.ts";
import { emitIpv6 } from "./ipv6.ts";
import { emitLink } from "./link.ts";

/** Emits the parser; `forward` is called once for each family that services have. */
export function emitParse(director: Director, forward: (flow: Flow) => void): void {
  const { p, leave, variant } = director;
  const link = emitLink(director);
  if (variant.features.ipv4) {
    p.if(link.etherType.eq(ETH_P_IP), () => forward(emitIpv4(director, link)));
  } else {
    p.leaveIf(link.etherType.eq(ETH_P_IP), leave.not_a_service);
  }
  if (variant.features.ipv6) {
    p.require(link.etherType.eq(ETH_P_IPV6), leave.not_ip);
    forward(emitIpv6(director, link));
  } else {
    p.leaveIf(link.etherType.eq(ETH_P_IPV6), leave.not_a_service);
    p.goto(leave.not_ip);
  }
}
