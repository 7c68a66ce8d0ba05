/**
 * Which VIPs the agent adds to `lo`, and which it takes away. Pure: addresses of the host come in.
 * What was on `lo` before is somebody else's: it is used and left there.
 */
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import { formatIp, type IpAddress, sameIp } from "../net/address.ts";

export interface VipPlan {
  readonly add: readonly IpAddress[];
  /** Added by an earlier run and configured no more. */
  readonly remove: readonly IpAddress[];
  /** On `lo` by our doing, once that is done. */
  readonly ours: readonly IpAddress[];
}

/** `known` is what earlier runs added; `loopback` the ifindex of `lo`. */
export function planVips(
  vips: readonly IpAddress[],
  known: readonly IpAddress[],
  addresses: readonly InterfaceAddress[],
  loopback: number,
): VipPlan {
  const present = onInterface(addresses, loopback);
  const add = vips.filter((vip) => !has(present, vip));
  return {
    add,
    remove: known.filter((address) => !has(vips, address) && has(present, address)),
    ours: vips.filter((vip) => has(add, vip) || has(known, vip)),
  };
}

/** What the agent gives an address on `lo`: the whole of it, 32 or 128 bits. */
export const vipPrefixLength = ({ family }: IpAddress): number => (family === 4 ? 32 : 128);

export const formatVip = (vip: IpAddress): string => `${formatIp(vip)}/${vipPrefixLength(vip)}`;

const onInterface = (addresses: readonly InterfaceAddress[], ifindex: number): IpAddress[] =>
  addresses.filter((entry) => entry.ifindex === ifindex).map(({ address }) => address);

const has = (list: readonly IpAddress[], address: IpAddress): boolean =>
  list.some((other) => sameIp(other, address));
