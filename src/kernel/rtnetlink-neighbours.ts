/** Neighbours (ARP and ND) in rtnetlink (include/uapi/linux/neighbour.h, net/core/neighbour.c). */
import { pad, struct, u16, u32, u8 } from "../bpf/layout.ts";
import type { IpAddress } from "../net/address.ts";
import type { Mac } from "../net/mac.ts";
import {
  decodePayload,
  encodePayload,
  ipOf,
  NetlinkDecodeError,
  readHeader,
  u32Attribute,
  u32Of,
} from "./netlink-message.ts";
import { addressFamily } from "./rtnetlink-routes.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTNLGRP_NEIGH = 3;

const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_PROTOCOL = 12;
const NDA_FLAGS_EXT = 15;

const NTF_USE = 1 << 0;
const NTF_ROUTER = 1 << 7;
const NTF_EXT_MANAGED = 1 << 0;

const AF_INET = 2;
const AF_INET6 = 10;

const Header = struct("ndmsg", {
  family: u8,
  padding: pad(3),
  ifindex: u32,
  state: u16,
  flags: u8,
  type: u8,
});

/** NUD states, spelled as ip-neighbour(8) prints them in lower case. */
const states = {
  none: 0x00,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;
export type NeighbourState = keyof typeof states;

export interface Neighbour {
  readonly ifindex: number;
  readonly address: IpAddress;
  /** `null` while the kernel does not know it. */
  readonly mac: Mac | null;
  /** As the kernel says. A flush reports `failed` before the deletion, so one event alone proves no failure. */
  readonly state: NeighbourState;
  /** An IPv6 router. */
  readonly router: boolean;
  /** The kernel keeps it resolved by itself (NTF_EXT_MANAGED). */
  readonly managed: boolean;
  /** Who made the entry, as of routes (RTPROT_…); 0 when nobody said. */
  readonly protocol: number;
}

export interface NewNeighbour {
  readonly ifindex: number;
  readonly address: IpAddress;
  readonly mac: Mac;
  /** Without: `permanent`. */
  readonly state?: NeighbourState;
}

/** @throws {NetlinkDecodeError} */
export function decodeNeighbour(payload: Uint8Array): Neighbour {
  const { header, attributes } = decodePayload(Header, payload);
  const address = ipOf(attributes, NDA_DST);
  if (address === undefined) throw new NetlinkDecodeError("NDA_DST", 0, "missing");
  const mac = attributes.get(NDA_LLADDR);
  return {
    ifindex: header.ifindex,
    address,
    mac: mac?.length === 6 ? mac.slice() : null,
    state: stateNames.get(header.state) ?? "none",
    router: (header.flags & NTF_ROUTER) !== 0,
    managed: ((u32Of(attributes, NDA_FLAGS_EXT) ?? 0) & NTF_EXT_MANAGED) !== 0,
    protocol: attributes.get(NDA_PROTOCOL)?.[0] ?? 0,
  };
}

/** Bridges report their forwarding entries as neighbours of AF_BRIDGE. @throws {NetlinkDecodeError} */
export function isIpNeighbour(payload: Uint8Array): boolean {
  const { family } = readHeader(Header, payload, 0);
  return family === AF_INET || family === AF_INET6;
}

export const encodeNeighbourDump = (family: 0 | 4 | 6): Uint8Array =>
  encodePayload(Header.encode({ family: addressFamily(family) }), []);

/** The request for one neighbour, or the one to delete. */
export const encodeNeighbourReference = (ifindex: number, address: IpAddress): Uint8Array =>
  encodePayload(headerOf(ifindex, address, 0, 0), [{ type: NDA_DST, value: address.bytes }]);

export function encodeNeighbour({ ifindex, address, mac, state }: NewNeighbour): Uint8Array {
  return encodePayload(headerOf(ifindex, address, states[state ?? "permanent"], 0), [
    { type: NDA_DST, value: address.bytes },
    { type: NDA_LLADDR, value: mac },
  ]);
}

/** Asks the kernel to resolve now. An entry that it kept resolved is an ordinary one from then on. */
export const encodeResolution = (ifindex: number, address: IpAddress): Uint8Array =>
  encodePayload(headerOf(ifindex, address, states.none, NTF_USE), [
    { type: NDA_DST, value: address.bytes },
  ]);

/** Asks the kernel to resolve now and to keep it resolved; `protocol` 0 leaves the entry's as it is. */
export const encodeKeeping = (ifindex: number, address: IpAddress, protocol: number): Uint8Array =>
  encodePayload(headerOf(ifindex, address, states.none, 0), [
    { type: NDA_DST, value: address.bytes },
    ...(protocol === 0 ? [] : [{ type: NDA_PROTOCOL, value: Uint8Array.of(protocol) }]),
    u32Attribute(NDA_FLAGS_EXT, NTF_EXT_MANAGED),
  ]);

const headerOf = (ifindex: number, address: IpAddress, state: number, flags: number): Uint8Array =>
  Header.encode({ family: addressFamily(address.family), ifindex, state, flags });

const stateNames = new Map(
  Object.entries(states).map(([name, number]) => [number as number, name as NeighbourState]),
);
