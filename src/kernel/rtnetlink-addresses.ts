/** Addresses of interfaces in rtnetlink (include/uapi/linux/if_addr.h). */
import { struct, u32, u8 } from "../bpf/layout.ts";
import type { IpAddress } from "../net/address.ts";
import {
  decodePayload,
  encodePayload,
  ipOf,
  NetlinkDecodeError,
  u32Attribute,
  u32Of,
} from "./netlink-message.ts";
import type { RouteScope } from "./rtnetlink-routes.ts";
import { addressFamily, scopeName, scopeNumber } from "./rtnetlink-routes.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV6_IFADDR = 9;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;

const Header = struct("ifaddrmsg", {
  family: u8,
  prefixLength: u8,
  flags: u8,
  scope: u8,
  index: u32,
});

/** Flags by name, spelled as ip-address(8) prints them. */
const flagBits = {
  secondary: 0x01,
  nodad: 0x02,
  optimistic: 0x04,
  dadfailed: 0x08,
  homeaddress: 0x10,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  managetempaddr: 0x100,
  noprefixroute: 0x200,
} as const;
export type AddressFlag = keyof typeof flagBits;

export interface InterfaceAddress {
  readonly ifindex: number;
  readonly address: IpAddress;
  /** 0 to 32 or 128. */
  readonly prefixLength: number;
  readonly scope: RouteScope;
  readonly flags: readonly AddressFlag[];
}

/** An address to add or delete. */
export interface NewAddress {
  readonly ifindex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** Without: `global`, or `host` for loopback addresses, as ip(8) does. */
  readonly scope?: RouteScope;
  /** `nodad` makes an IPv6 address usable at once (no duplicate detection). */
  readonly flags?: readonly AddressFlag[];
}

/** @throws {NetlinkDecodeError} */
export function decodeAddress(payload: Uint8Array): InterfaceAddress {
  const { header, attributes } = decodePayload(Header, payload);
  // On point-to-point links IFA_ADDRESS is the other end; IPv6 leaves IFA_LOCAL out elsewhere.
  const address = ipOf(attributes, IFA_LOCAL) ?? ipOf(attributes, IFA_ADDRESS);
  if (address === undefined) throw new NetlinkDecodeError("IFA_ADDRESS", 0, "missing");
  const flags = u32Of(attributes, IFA_FLAGS) ?? header.flags;
  return {
    ifindex: header.index,
    address,
    prefixLength: header.prefixLength,
    scope: scopeName(header.scope),
    flags: flagNames.filter((name) => (flags & flagBits[name]) !== 0),
  };
}

export const encodeAddressDump = (family: 0 | 4 | 6): Uint8Array =>
  encodePayload(Header.encode({ family: addressFamily(family) }), []);

export function encodeAddress(entry: NewAddress): Uint8Array {
  const { address, ifindex, prefixLength } = entry;
  const flags = (entry.flags ?? []).reduce((bits, name) => bits | flagBits[name], 0);
  const header = Header.encode({
    family: addressFamily(address.family),
    prefixLength,
    scope: scopeNumber(entry.scope ?? (isLoopback(address) ? "host" : "global")),
    index: ifindex,
  });
  return encodePayload(header, [
    { type: IFA_LOCAL, value: address.bytes },
    { type: IFA_ADDRESS, value: address.bytes },
    u32Attribute(IFA_FLAGS, flags),
  ]);
}

const flagNames = Object.keys(flagBits) as AddressFlag[];

const isLoopback = ({ family, bytes }: IpAddress): boolean =>
  family === 4 ? bytes[0] === 127 : bytes.every((byte, index) => byte === (index === 15 ? 1 : 0));
