/** What the reference director is told: the configuration and the tables, in the plainest form. */
import type { HashKey, PortRange, Tunnels } from "../../model/model.ts";
import type { IpAddress } from "../../net/address.ts";
import type { Mac } from "../../net/mac.ts";
import type { IpPrefix } from "../../net/prefix.ts";
import type { FlowHashKey } from "../flow-hash.ts";
import type { ForwardingCode } from "../layout.ts";
import type { DirectorReason } from "../reasons.ts";

export interface ReferenceMember {
  readonly forwarding: ForwardingCode;
  /** `null`: there is no way to it. */
  readonly path: {
    readonly ifindex: number;
    readonly sourceMac: Mac;
    /** `null` while unresolved. */
    readonly nextHopMac: Mac | null;
    /** VLAN tags of the way, the outermost first. */
    readonly tags: readonly { readonly protocol: number; readonly id: number }[];
    readonly mtu: number;
    readonly source: IpAddress;
  } | null;
  readonly address: IpAddress;
  /** The VIPs it knows by code points, from 1 on. */
  readonly codePoints: readonly IpAddress[];
}

export interface ReferenceService {
  readonly vip: IpPrefix;
  /** `null` is any. */
  readonly protocol: number | null;
  readonly ports: PortRange;
  readonly hashKey: HashKey;
  readonly counter: number;
  readonly pool: {
    readonly owners: Uint16Array;
    readonly members: readonly ReferenceMember[];
    readonly memberCounters: number;
  };
}

export interface ReferenceWorld {
  readonly mac: Mac;
  readonly ifindex: number;
  /** What errors are answered from. */
  readonly addresses: { readonly ipv4: IpAddress | null; readonly ipv6: IpAddress | null };
  readonly hashKey: FlowHashKey;
  readonly tunnels: Tunnels;
  readonly outerSources: { readonly ipv4: IpPrefix | null; readonly ipv6: IpPrefix | null };
  readonly vlanTags: number;
  readonly limits: { readonly interval: bigint; readonly burst: bigint };
  readonly services: readonly ReferenceService[];
}

export interface DirectorOutcome {
  readonly reason: DirectorReason;
  readonly verdict: number;
  /** The frame afterwards; `null` when it is dropped. */
  readonly packet: Uint8Array | null;
  /** The two counters a forwarded packet counts under besides its reason. */
  readonly counters: { readonly service: number; readonly member: number } | null;
  /** The interface it leaves by, when it is another. */
  readonly egress: number | null;
}
