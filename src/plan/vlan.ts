/**
 * VLAN devices (IEEE 802.1Q, 802.1ad): programs see the frames of the device below, tags and all. Pure;
 * links come in.
 */
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { VlanTags } from "../model/model.ts";
import type { PathTag } from "./path.ts";

/** As many as programs look behind. */
export const VLAN_TAGS_MAX = 2;

/** A device without tags of its own, and the tags that frames have there, the outermost first. */
export interface Untagged {
  readonly link: Link;
  readonly tags: readonly PathTag[];
}

/**
 * The device below a VLAN device, or below several; a link that is none is its own, and so is one of
 * `interfaces`, whose program sees frames without tags. `null` when the device below is not of this
 * namespace.
 */
export function untagged(
  link: Link,
  links: readonly Link[],
  interfaces: readonly string[],
): Untagged | null {
  const tags: PathTag[] = [];
  let at = link;
  // A device has one below it and the kernel makes no circles; links read at two moments might.
  for (let depth = 0; depth <= links.length; depth += 1) {
    const { vlan } = at;
    if (vlan === null || interfaces.includes(at.name)) return { link: at, tags };
    const below = links.find(({ ifindex }) => ifindex === vlan.lower);
    if (below === undefined) return null;
    tags.unshift({ protocol: vlan.protocol, id: vlan.id });
    at = below;
  }
  return null;
}

/** VLAN tags that programs on these interfaces look behind. */
export function vlanTagsFor(
  configured: VlanTags,
  interfaces: readonly string[],
  links: readonly Link[],
): 0 | 1 | 2 {
  if (configured !== "auto") return configured;
  const depths = links.flatMap((link) => {
    const found = untagged(link, links, interfaces);
    return found !== null && interfaces.includes(found.link.name) ? [found.tags.length] : [];
  });
  const most = Math.max(0, ...depths);
  return most > 1 ? VLAN_TAGS_MAX : most === 1 ? 1 : 0;
}
