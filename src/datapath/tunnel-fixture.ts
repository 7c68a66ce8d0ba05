/** Packets in tunnels for tests, built by the RFCs and by no code of the programs. */
import { defaultTunnels, type TunnelPorts } from "../model/model.ts";
import type { LinkLayer } from "../packet/build.ts";
import {
  ETH_P_IP,
  ETH_P_IPV6,
  IPPROTO_GRE,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
} from "../packet/headers.ts";

type Network = ReturnType<LinkLayer["ipv4"]>;

export interface TunnelGiven {
  readonly ports?: TunnelPorts;
  /** Of the outer UDP header. */
  readonly sourcePort?: number;
  /** 0 for none; computed unless given. */
  readonly checksum?: 0;
}

/** `packet`, an IP packet, behind the outer header `network`. */
export function inTunnel(
  network: Network,
  kind: "ipip" | "gre" | "fou" | "gue",
  packet: Uint8Array,
  { ports = defaultTunnels, sourcePort = 50_000, checksum }: TunnelGiven = {},
): Uint8Array {
  const isIpv4 = (packet[0] ?? 0) >> 4 === 4;
  const protocol = isIpv4 ? IPPROTO_IPIP : IPPROTO_IPV6;
  const udp = (destinationPort: number, payload: Uint8Array): Uint8Array =>
    network.udp(
      { sourcePort, destinationPort, ...(checksum === undefined ? {} : { checksum }) },
      payload,
    );
  switch (kind) {
    case "ipip":
      return network.raw(protocol, packet);
    case "gre": {
      // RFC 2784: no flags, version 0, the protocol type.
      const type = isIpv4 ? ETH_P_IP : ETH_P_IPV6;
      return network.raw(IPPROTO_GRE, Uint8Array.of(0, 0, type >> 8, type & 0xff, ...packet));
    }
    case "fou":
      return udp(isIpv4 ? ports.fouPort : ports.fouPortIpv6, packet);
    case "gue":
      // draft-ietf-intarea-gue: version 0, no extensions, the protocol, no flags.
      return udp(ports.guePort, Uint8Array.of(0, protocol, 0, 0, ...packet));
  }
}
