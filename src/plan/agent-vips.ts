/**
 * Which VIPs the agent adds to `lo`, and which it takes away. Pure: what the host has comes in. What was
 * on `lo` before is somebody else's: it is used and left there.
 *
 * A VIP that is an address is added as one; a prefix as a route of type `local`, which makes every
 * address of it the host's own.
 */
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { Route } from "../kernel/rtnetlink-routes.ts";
import { formatPrefix, type IpPrefix, isWhole, sameIpPrefix, wholePrefix } from "../net/prefix.ts";

export interface VipPlan {
  readonly add: readonly IpPrefix[];
  /** Added by an earlier run and configured no more. */
  readonly remove: readonly IpPrefix[];
  /** On `lo` by our doing, once that is done. */
  readonly ours: readonly IpPrefix[];
}

/** `known` is what earlier runs added, `present` what `lo` has. */
export function planVips(
  vips: readonly IpPrefix[],
  known: readonly IpPrefix[],
  present: readonly IpPrefix[],
): VipPlan {
  const add = vips.filter((vip) => !has(present, vip));
  return {
    add,
    remove: known.filter((vip) => !has(vips, vip) && has(present, vip)),
    ours: vips.filter((vip) => has(add, vip) || has(known, vip)),
  };
}

/** What the interface `loopback` has as its own: its addresses, and prefixes by local routes. */
export function ownPrefixes(
  addresses: readonly InterfaceAddress[],
  localRoutes: readonly Route[],
  loopback: number,
): readonly IpPrefix[] {
  const routed = localRoutes.flatMap(({ destination, type, nextHops }) =>
    type === "local" && nextHops.some(({ ifindex }) => ifindex === loopback) ? [destination] : [],
  );
  return [
    ...addresses.flatMap(({ address, ifindex }) =>
      ifindex === loopback ? [wholePrefix(address)] : [],
    ),
    ...routed.filter((prefix) => !isWhole(prefix)),
  ];
}

/** With its length, as `ip address` and `ip route` show it. */
export const formatVip = (vip: IpPrefix): string =>
  isWhole(vip) ? `${formatPrefix(vip)}/${vip.length}` : formatPrefix(vip);

const has = (list: readonly IpPrefix[], vip: IpPrefix): boolean =>
  list.some((other) => sameIpPrefix(other, vip));
