/** What an agent's program is specialised to: what nobody configured is not in it. */
import type { TunnelPorts } from "../../model/model.ts";
import type { AgentMaps } from "./maps.ts";

export const tunnelKinds = ["ipip", "gre", "fou", "gue"] as const;
export type TunnelKind = (typeof tunnelKinds)[number];

export interface AgentVariant {
  readonly maps: AgentMaps;
  /** Tunnels that are decapsulated. */
  readonly kinds: readonly TunnelKind[];
  readonly ports: TunnelPorts;
  /** Some VIP, some director is a prefix. */
  readonly prefixes: { readonly vips: boolean; readonly directors: boolean };
  /** Families of addresses that directors forward to by `dscp`. */
  readonly dscp: { readonly ipv4: boolean; readonly ipv6: boolean };
  /** VLAN tags that are looked behind: 0, 1 or 2. */
  readonly vlanTags: number;
}
