/**
 * What a director's program is specialised to. A feature nobody configured is not in the program;
 * what changes while it runs (addresses, MACs, tables) is in the arena and not here.
 */
import type { Mac } from "../../net/mac.ts";
import type { FlowHashKey } from "../flow-hash.ts";
import type { DirectorMaps } from "./maps.ts";

export interface DirectorVariant {
  readonly maps: DirectorMaps;
  readonly hashKey: FlowHashKey;
  /** The interface the program is attached to: packets for a next hop on another are redirected. */
  readonly ifindex: number;
  /** Frames for another station are left alone. */
  readonly mac: Mac;
  /** Address families that services have. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Forwardings that members have; `ipip` by the family of the outer header. */
  readonly l2: boolean;
  readonly ipipOverIpv4: boolean;
  readonly ipipOverIpv6: boolean;
}
