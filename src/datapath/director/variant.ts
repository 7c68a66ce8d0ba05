/**
 * What a director's program is specialised to. A feature nobody configured is not in the program;
 * what changes while it runs (addresses, MACs, tables) is in the arena and not here.
 */
import type { Tunnels } from "../../model/model.ts";
import type { IpAddress } from "../../net/address.ts";
import type { Mac } from "../../net/mac.ts";
import type { IpPrefix } from "../../net/prefix.ts";
import type { FlowHashKey } from "../flow-hash.ts";
import type { ForwardingCode } from "../layout.ts";
import type { DirectorMaps } from "./maps.ts";

export interface DirectorVariant {
  readonly maps: DirectorMaps;
  readonly hashKey: FlowHashKey;
  /** The interface the program is attached to: packets for a next hop on another are redirected. */
  readonly ifindex: number;
  /** Frames for another station are left alone. */
  readonly mac: Mac;
  /** Addresses of that interface, which errors are answered from; `null` where it has none. */
  readonly addresses: { readonly ipv4: IpAddress | null; readonly ipv6: IpAddress | null };
  readonly features: Features;
  readonly tunnels: Tunnels;
  /** Where outer headers come from, instead of the director's own address. */
  readonly outerSources: { readonly ipv4: IpPrefix | null; readonly ipv6: IpPrefix | null };
  /** VLAN tags that are looked behind: 0, 1 or 2. */
  readonly vlanTags: number;
}

/** What services and members need the program to be able to do. */
export interface Features {
  /** Address families that services have. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** What members have, in ascending order. */
  readonly forwardings: readonly ForwardingCode[];
  /** Some service's hash key is not the five-tuple. */
  readonly hashKeys: boolean;
  /** Services that are not one address, one port and one protocol, by family. */
  readonly wideIpv4: WideShape | null;
  readonly wideIpv6: WideShape | null;
}

/** How services with prefixes, ranges or all ports are searched by address. */
export interface WideShape {
  /** Bits of the address that the index is asked with: the shortest prefix of any service. */
  readonly anchorBits: number;
  /** Levels of eight bits behind those: as many as the longest prefix needs. */
  readonly levels: number;
}
