/**
 * The way from this host to a backend: by which interface, to which neighbour, from which address.
 * Pure: the kernel's answers come in, a path or a sentence about why there is none goes out.
 */
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import type { Backend, DirectorConfig } from "../model/model.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import type { Mac } from "../net/mac.ts";
import { untagged, VLAN_TAGS_MAX } from "./vlan.ts";

/** A VLAN tag that a frame leaves with. */
export interface PathTag {
  /** ETH_P_8021Q or ETH_P_8021AD. */
  readonly protocol: number;
  readonly id: number;
}

export interface Path {
  /** The device that packets leave by: of a VLAN device, the one below. */
  readonly ifindex: number;
  /** The device that knows the neighbour, where that is a VLAN device. */
  readonly neighbourIfindex?: number;
  /** What a VLAN device would put in front, the outermost first; at most two. */
  readonly tags?: readonly PathTag[];
  /** Source MAC of what leaves: the interface's. */
  readonly mac: Mac;
  /** Whose MAC packets get: the backend on its own link, else the gateway. */
  readonly neighbour: IpAddress;
  /** Source of an outer header. */
  readonly source: IpAddress;
  /** Largest IP packet the way takes, as far as this host knows. */
  readonly mtu: number;
}

/** The device that knows a path's neighbour. */
export const neighbourDevice = ({ ifindex, neighbourIfindex }: Path): number =>
  neighbourIfindex ?? ifindex;

export type PathResult =
  | { readonly kind: "path"; readonly path: Path }
  /** `why` finishes the sentence "Cannot forward to backend …: ". */
  | { readonly kind: "none"; readonly why: string };

/** Judges the kernel's route to a backend. `links` are all links of this host. */
export function pathTo(
  backend: Pick<Backend, "address" | "forwarding">,
  decision: RouteDecision,
  links: readonly Link[],
  { interfaces, vlanTags }: Pick<DirectorConfig, "interfaces" | "vlanTags">,
): PathResult {
  const address = formatIp(backend.address);
  if (decision.type === "local") {
    return none(`${address} is an address of this host; a director is not its own backend`);
  }
  if (decision.type !== "unicast" || decision.ifindex === null) {
    return none(`no route to ${address} (${decision.type}); add one with "ip route add"`);
  }
  const link = links.find(({ ifindex }) => ifindex === decision.ifindex);
  if (link === undefined || link.mac === null) {
    return none(
      `the route to ${address} leaves by ${link?.name ?? `interface ${decision.ifindex}`}, which has no Ethernet address`,
    );
  }
  if (!link.up) return none(`the route to ${address} leaves by ${link.name}, which is down`);
  if (backend.forwarding === "l2" && decision.gateway !== null) {
    return none(
      `l2 needs it in a subnet of this host, but the route to ${address} goes by gateway ${formatIp(decision.gateway)}; use forwarding gue or ipip`,
    );
  }
  if (decision.source === null) {
    return none(`${link.name} has no address to reach ${address} from`);
  }
  const below = untagged(link, links, interfaces);
  if (below === null) {
    return none(
      `${link.name} is a VLAN device whose device below is not in this network namespace`,
    );
  }
  const { tags } = below;
  if (tags.length > VLAN_TAGS_MAX || (vlanTags !== "auto" && tags.length > vlanTags)) {
    const what = `packets leave by ${link.name} with ${tags.length} VLAN ${tags.length === 1 ? "tag" : "tags"}`;
    return none(
      tags.length > VLAN_TAGS_MAX
        ? `${what}; at most ${VLAN_TAGS_MAX} are written`
        : `${what}, and vlanTags is ${vlanTags}; set it to auto`,
    );
  }
  return {
    kind: "path",
    path: {
      ifindex: below.link.ifindex,
      ...(tags.length > 0 && { neighbourIfindex: link.ifindex, tags }),
      mac: link.mac,
      neighbour: decision.gateway ?? backend.address,
      source: decision.source,
      mtu: Math.min(decision.mtu ?? link.mtu, link.mtu, below.link.mtu),
    },
  };
}

const none = (why: string): PathResult => ({ kind: "none", why });
