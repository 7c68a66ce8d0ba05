/**
 * The domain in plain records: what an operator asks for, resolved and validated (`config/` makes
 * these, `plan/` reads them). Names and defaults are settled here; nothing below looks at YAML.
 */
import type { IpAddress } from "../net/address.ts";
import type { IpPrefix } from "../net/prefix.ts";

/** How a packet leaves the director. */
export const forwardings = ["l2", "ipip", "gre", "fou", "gue", "dscp"] as const;
export type Forwarding = (typeof forwardings)[number];

/** `any` is every IP protocol, TCP and UDP too. */
export const protocols = ["tcp", "udp", "any"] as const;
export type Protocol = (typeof protocols)[number];

/** What of a packet decides which bucket it falls into, as docs/design/flow-hash.md says. */
export const hashKeys = ["five-tuple", "client", "client-vip", "client-port"] as const;
export type HashKey = (typeof hashKeys)[number];

/** Both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A machine that serves, as a member of one pool. */
export interface Backend {
  /** Unique in its pool, and its identity: tables hash it, so a new address keeps the buckets. */
  readonly name: string;
  readonly address: IpAddress;
  /** 1 to 65 535; its share of new flows is its weight over the pool's sum. */
  readonly weight: number;
  readonly forwarding: Forwarding;
}

/** Backends that share a job. */
export interface Pool {
  readonly name: string;
  readonly backends: readonly Backend[];
}

/** VIPs, a protocol and ports: what clients connect to. */
export interface Service {
  readonly name: string;
  readonly vips: readonly IpPrefix[];
  readonly protocol: Protocol;
  readonly ports: readonly PortRange[] | "all";
  readonly hashKey: HashKey;
  readonly pool: string;
}

/** What tunnels in UDP are known by; directors and agents must agree. */
export interface TunnelPorts {
  /** Destination port of `fou` around IPv4, and around IPv6: native Linux devices need two. */
  readonly fouPort: number;
  readonly fouPortIpv6: number;
  readonly guePort: number;
}

export interface Tunnels extends TunnelPorts {
  /** Whether outer UDP headers carry a checksum. */
  readonly udpChecksum: boolean;
}

/** GUE's port is IANA's; FOU has none, these are the ones of Linux's own examples. */
export const defaultTunnels: Tunnels = {
  fouPort: 5555,
  fouPortIpv6: 5556,
  guePort: 6080,
  udpChecksum: false,
};

/** How a program is attached: `auto` tries the driver and falls back to generic, loudly. */
export const xdpModes = ["auto", "native", "generic"] as const;
export type XdpMode = (typeof xdpModes)[number];

/** How an agent's program is attached: `auto` tries the driver, then TC, loudly. */
export const agentModes = ["auto", "native", "tc", "generic"] as const;
export type AgentMode = (typeof agentModes)[number];

/** VLAN tags that a program looks behind: `auto` is as many as the VLAN devices on its interfaces have. */
export const vlanTagChoices = ["auto", 0, 1, 2] as const;
export type VlanTags = (typeof vlanTagChoices)[number];

export interface DirectorConfig {
  /** Names the pins, the socket and the state folder. */
  readonly instance: string;
  readonly interfaces: readonly string[];
  readonly xdpMode: XdpMode;
  /** 32 bytes, the same on every director of a fleet; `null` means the documented default key. */
  readonly hashKey: Uint8Array | null;
  readonly tunnels: Tunnels;
  /** Where outer headers come from instead of the director's own address: at most one of a family. */
  readonly outerSources: readonly IpPrefix[];
  readonly vlanTags: VlanTags;
  readonly pools: readonly Pool[];
  readonly services: readonly Service[];
}

/** An address of a backend that directors forward to by `dscp`. */
export interface DscpAddress {
  readonly address: IpAddress;
  /** Of the address's family, the first named by code point 1; each is a VIP of the agent. */
  readonly vips: readonly IpAddress[];
}

export interface AgentConfig {
  readonly instance: string;
  /** Where packets of the directors arrive. */
  readonly interfaces: readonly string[];
  readonly mode: AgentMode;
  readonly vips: readonly IpPrefix[];
  /** Encapsulated packets are accepted from these only; prefixes are of directors with `outerSources`. */
  readonly directors: readonly IpPrefix[];
  readonly tunnels: TunnelPorts;
  readonly dscp: readonly DscpAddress[];
  readonly vlanTags: VlanTags;
}

/** What checks (later) or an operator say of a backend. Only `up` may get new flows. */
export const backendStates = ["up", "down", "drained"] as const;
export type BackendState = (typeof backendStates)[number];
