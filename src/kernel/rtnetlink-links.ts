/** Network interfaces in rtnetlink (include/uapi/linux/if_link.h). */
import { pad, struct, u16, u32, u8 } from "../bpf/layout.ts";
import type { Mac } from "../net/mac.ts";
import type { Attribute, Attributes } from "./netlink-message.ts";
import {
  decodePayload,
  encodePayload,
  NetlinkDecodeError,
  nestedAttribute,
  nestedOf,
  readHeader,
  textAttribute,
  textOf,
  u32Attribute,
  u32Of,
} from "./netlink-message.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTNLGRP_LINK = 1;

const AF_UNSPEC = 0;
const IF_OPER_UNKNOWN = 0;
const IF_OPER_UP = 6;
const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_PID = 19;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_XDP = 43;
const IFLA_LINK_NETNSID = 37;
const IFLA_PERM_ADDRESS = 54;

const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFLA_VLAN_ID = 1;
const IFLA_VLAN_PROTOCOL = 5;
const ETH_P_8021Q = 0x8100;

const IFLA_XDP_DRV_PROG_ID = 5;
const IFLA_XDP_SKB_PROG_ID = 6;
const IFLA_XDP_HW_PROG_ID = 7;

// Counters are two thirds of a link's message and read elsewhere.
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

const Header = struct("ifinfomsg", {
  family: u8,
  padding: pad(1),
  type: u16,
  index: u32,
  flags: u32,
  change: u32,
});

export type XdpAttachMode = "native" | "generic" | "offloaded";

export interface XdpAttachment {
  readonly mode: XdpAttachMode;
  readonly programId: number;
}

/** Of a VLAN device (drivers net/8021q). */
export interface VlanInfo {
  /** EtherType of the tag: ETH_P_8021Q or ETH_P_8021AD. */
  readonly protocol: number;
  readonly id: number;
  /** The ifindex of the device below; `null` when that is in another namespace. */
  readonly lower: number | null;
}

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** `null` where the link layer has no 6-byte addresses. */
  readonly mac: Mac | null;
  /** The address burnt in, `null` when there is none. */
  readonly permanentMac: Mac | null;
  readonly mtu: number;
  /** Set up by the administrator (IFF_UP). */
  readonly up: boolean;
  /** Has a carrier (IFF_LOWER_UP). */
  readonly lowerUp: boolean;
  /**
   * The kernel sends through it (RFC 2863: up, or unknown as for `lo`). Comes after `lowerUp`, when
   * bridges and IPv6 have heard of the carrier too.
   */
  readonly operational: boolean;
  /** `veth`, `bridge`, `vlan` …; `null` for hardware and `lo`. */
  readonly kind: string | null;
  /** What a VLAN device puts in front of frames; `null` for any other. */
  readonly vlan: VlanInfo | null;
  /** The ifindex of the bridge or bond it is enslaved to. */
  readonly master: number | null;
  /** The ifindex of the peer or of the device below; in which namespace, the kernel does not say here. */
  readonly lower: number | null;
  /** One per mode; native and generic can be attached at once. */
  readonly xdp: readonly XdpAttachment[];
}

/** A network namespace, by one of its processes or by an open descriptor of it. */
export type NetnsReference = { readonly pid: number } | { readonly fd: number };

/** One end of a veth pair, or a bridge, to be made. */
export interface NewLink {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  /** Where it is made; without, in the socket's namespace. */
  readonly netns?: NetnsReference;
  /**
   * Without, the namespace's next. Ends of a veth pair that happen to have the same number hear of
   * their carrier up to a second late (linkwatch_urgent_event in net/core/link_watch.c), and IPv6
   * waits for that.
   */
  readonly ifindex?: number;
}

/** What to change of a link; what is not given stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: Mac;
  readonly name?: string;
  /** The bridge to join, by ifindex; `null` leaves it. */
  readonly master?: number | null;
  /** Where to move it. */
  readonly netns?: NetnsReference;
}

/** @throws {NetlinkDecodeError} */
export function decodeLink(payload: Uint8Array): Link {
  const { header, attributes } = decodePayload(Header, payload);
  const name = textOf(attributes, IFLA_IFNAME);
  if (name === undefined) throw new NetlinkDecodeError("IFLA_IFNAME", 0, "missing");
  const info = nestedOf(attributes, IFLA_LINKINFO);
  const operState = attributes.get(IFLA_OPERSTATE)?.[0] ?? IF_OPER_UNKNOWN;
  return {
    ifindex: header.index,
    name,
    mac: macOf(attributes, IFLA_ADDRESS),
    permanentMac: macOf(attributes, IFLA_PERM_ADDRESS),
    mtu: u32Of(attributes, IFLA_MTU) ?? 0,
    up: (header.flags & IFF_UP) !== 0,
    lowerUp: (header.flags & IFF_LOWER_UP) !== 0,
    operational: operState === IF_OPER_UP || operState === IF_OPER_UNKNOWN,
    kind: info === undefined ? null : (textOf(info, IFLA_INFO_KIND) ?? null),
    vlan: decodeVlan(info, attributes),
    master: u32Of(attributes, IFLA_MASTER) ?? null,
    lower: u32Of(attributes, IFLA_LINK) ?? null,
    xdp: decodeXdp(nestedOf(attributes, IFLA_XDP)),
  };
}

/**
 * Bridges report a port joining or leaving as a link of AF_BRIDGE; a RTM_DELLINK of that family does
 * not mean that the link is gone.
 * @throws {NetlinkDecodeError}
 */
export const isPlainLink = (payload: Uint8Array): boolean =>
  readHeader(Header, payload, 0).family === AF_UNSPEC;

/** The request for all links. */
export const encodeLinkDump = (): Uint8Array =>
  encodePayload(Header.encode({}), [u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)]);

/** The request for one link, or the one to delete, by name or ifindex. */
export const encodeLinkReference = (link: string | number): Uint8Array =>
  typeof link === "number"
    ? encodePayload(Header.encode({ index: link }), [])
    : encodePayload(Header.encode({}), [textAttribute(IFLA_IFNAME, link)]);

export function encodeLinkChange(ifindex: number, change: LinkChange): Uint8Array {
  const { up, master } = change;
  const flags = up === undefined ? {} : { flags: up ? IFF_UP : 0, change: IFF_UP };
  const attributes = describeLink(change);
  if (master !== undefined) attributes.push(u32Attribute(IFLA_MASTER, master ?? 0));
  return encodePayload(Header.encode({ index: ifindex, ...flags }), attributes);
}

export const encodeBridge = (bridge: NewLink): Uint8Array =>
  encodePayload(newHeader(bridge), [
    ...describeLink(bridge),
    nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, "bridge")]),
  ]);

/** VETH_INFO_PEER holds a whole message of its own: the fixed header, then attributes (drivers/net/veth.c). */
export function encodeVeth(end: NewLink, peer: NewLink): Uint8Array {
  const peerMessage = encodePayload(newHeader(peer), describeLink(peer));
  return encodePayload(newHeader(end), [
    ...describeLink(end),
    nestedAttribute(IFLA_LINKINFO, [
      textAttribute(IFLA_INFO_KIND, "veth"),
      nestedAttribute(IFLA_INFO_DATA, [{ type: VETH_INFO_PEER, value: peerMessage }]),
    ]),
  ]);
}

const newHeader = ({ ifindex }: NewLink): Uint8Array => Header.encode({ index: ifindex ?? 0 });

function describeLink({ name, mac, mtu, netns }: Omit<LinkChange, "up" | "master">): Attribute[] {
  const attributes: Attribute[] = [];
  if (name !== undefined) attributes.push(textAttribute(IFLA_IFNAME, name));
  if (mac !== undefined) attributes.push({ type: IFLA_ADDRESS, value: mac });
  if (mtu !== undefined) attributes.push(u32Attribute(IFLA_MTU, mtu));
  if (netns !== undefined) {
    attributes.push(
      "pid" in netns
        ? u32Attribute(IFLA_NET_NS_PID, netns.pid)
        : u32Attribute(IFLA_NET_NS_FD, netns.fd),
    );
  }
  return attributes;
}

function decodeVlan(info: Attributes | undefined, link: Attributes): VlanInfo | null {
  if (info === undefined || textOf(info, IFLA_INFO_KIND) !== "vlan") return null;
  const data = nestedOf(info, IFLA_INFO_DATA);
  const id = data?.get(IFLA_VLAN_ID);
  if (id?.length !== 2) return null;
  const protocol = data?.get(IFLA_VLAN_PROTOCOL);
  return {
    // The id in the byte order of the machine, the protocol in that of the network.
    id: new DataView(id.buffer, id.byteOffset).getUint16(0, true),
    protocol:
      protocol?.length === 2
        ? new DataView(protocol.buffer, protocol.byteOffset).getUint16(0)
        : ETH_P_8021Q,
    lower: link.has(IFLA_LINK_NETNSID) ? null : (u32Of(link, IFLA_LINK) ?? null),
  };
}

function decodeXdp(attributes: Attributes | undefined): XdpAttachment[] {
  if (attributes === undefined) return [];
  const modes: readonly [XdpAttachMode, number][] = [
    ["native", IFLA_XDP_DRV_PROG_ID],
    ["generic", IFLA_XDP_SKB_PROG_ID],
    ["offloaded", IFLA_XDP_HW_PROG_ID],
  ];
  return modes.flatMap(([mode, type]) => {
    const programId = u32Of(attributes, type);
    return programId === undefined || programId === 0 ? [] : [{ mode, programId }];
  });
}

function macOf(attributes: Attributes, type: number): Mac | null {
  const value = attributes.get(type);
  return value?.length === 6 ? value.slice() : null;
}
