/** The addresses that a director answers from. Pure; the kernel's come in. */
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { IpAddress } from "../net/address.ts";
import { untagged } from "./vlan.ts";

/** One of each family for errors about what came in by `link`; `null` where this host has none to show. */
export interface OwnAddresses {
  readonly ipv4: IpAddress | null;
  readonly ipv6: IpAddress | null;
}

/**
 * The link's own, or those of VLAN devices on it, before those of any other link: an error comes from
 * the interface that the packet would be seen at (RFC 1812 §4.3.2.4), if that has an address.
 */
export function ownAddresses(
  link: Link,
  links: readonly Link[],
  addresses: readonly InterfaceAddress[],
): OwnAddresses {
  const nearness = ({ ifindex }: InterfaceAddress): number => {
    if (ifindex === link.ifindex) return 0;
    const other = links.find((each) => each.ifindex === ifindex);
    return other !== undefined && untagged(other, links, [])?.link.ifindex === link.ifindex ? 1 : 2;
  };
  const usable = addresses.filter(
    ({ scope, flags }) =>
      scope === "global" && !flags.includes("tentative") && !flags.includes("dadfailed"),
  );
  const first = (family: 4 | 6): IpAddress | null =>
    usable
      .filter(({ address }) => address.family === family)
      .toSorted((a, b) => nearness(a) - nearness(b))
      .at(0)?.address ?? null;
  return { ipv4: first(4), ipv6: first(6) };
}
