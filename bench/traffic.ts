/**
 * What comes in: frames of numbered flows. The wrapper (`wrapper.ts`) makes the frame of a flow inside
 * the kernel, before every run of the program under test; `frameOf` here makes the same bytes, so that
 * what came out can be checked.
 *
 *     flow number ──┬── low 17 bits ──> client: 198.18.0.0/15 or 2001:2::/48 (RFC 2544, RFC 5180: for benchmarks)
 *                   ├── the rest ─────> source port, from 1024 on
 *                   └── mixed ────────> which of the destinations
 */
import { ip, type IpAddress } from "../src/net/address.ts";
import { eth, type NetworkLayer, padTo } from "../src/packet/build.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  Ethernet,
  IPPROTO_DSTOPTS,
  Ipv4,
  Ipv6,
  Tcp,
  Udp,
  Vlan,
} from "../src/packet/headers.ts";

export const DIRECTOR_MAC = "00:00:5e:00:53:01";
const CLIENT_SIDE_MAC = "00:00:5e:00:53:fe";

/** Services listen here, clients ask for it. */
export const PORT = 80;

export type Family = 4 | 6;

export interface Traffic {
  readonly family: Family;
  /** `established` TCP carries ACK and nothing else, `syn` begins a flow. */
  readonly kind: "established" | "syn" | "udp";
  /** Flows 0 to `flows` - 1, picked at random. */
  readonly flows: number;
  /** The first destination; others follow by counting up its last 32 bits. */
  readonly destination: IpAddress;
  readonly destinations: number;
  /** An outer IPv4 header around each IPv4 packet, the same for all. */
  readonly outer?: { readonly source: IpAddress; readonly destination: IpAddress };
  /** VLAN tags, at most 2; none unless given. */
  readonly tags?: number;
  /** IPv4 options, or IPv6 extension headers. */
  readonly hasOptions?: boolean;
  /** The program changes the transport checksum (`dscp`): it must be restored. */
  readonly isReaddressed?: boolean;
}

/** So many flows that nearly every packet of a run is of a new one. */
export const FLOWS_ENDLESS = 2 ** 32 - 1;

export const CLIENT_BITS = 17;
export const FIRST_SOURCE_PORT = 1024;
/** Spreads flows over destinations: 2^32 over the golden ratio, odd. */
export const SPREAD = 0x9e3779b1;

const CLIENTS = { 4: ip("198.18.0.0"), 6: ip("2001:2::") } as const;
/** Bytes of a frame without FCS, padded. */
const FRAME_BYTES = { 4: 64, 6: 80 } as const;

/** Twelve bytes of options: a time stamp (RFC 791 §3.1) of nobody yet. */
const IPV4_OPTIONS = Uint8Array.of(68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0);
/** As many headers of eight bytes of padding. */
const IPV6_EXTENSIONS = 2;
const IPV6_EXTENSION_BYTES = 8;
/** From the outermost on: type and id. */
const TAGS = [
  [ETH_P_8021AD, 100],
  [ETH_P_8021Q, 200],
] as const;

/** Where in a frame lies what the wrapper writes. */
export interface Shape {
  readonly family: Family;
  /** The IP headers, the outermost first. */
  readonly net: readonly number[];
  /** The last 32 bits of both addresses of the innermost one. */
  readonly source: number;
  readonly destination: number;
  readonly ports: number;
  /** The transport checksum, where the program changes it. */
  readonly checksum: number | null;
  readonly frameBytes: number;
}

export function shapeOf(traffic: Traffic): Shape {
  const { family, kind, outer, tags = 0, hasOptions = false, isReaddressed = false } = traffic;
  if (outer !== undefined && family !== 4) {
    throw new TypeError("Only IPv4 packets get an outer header here");
  }
  const first = Ethernet.size + tags * Vlan.size;
  const net = outer === undefined ? [first] : [first, first + Ipv4.size];
  const inner = net.at(-1) ?? first;
  const addresses = (family === 4 ? Ipv4 : Ipv6).offsets;
  const lastWord = family === 4 ? 0 : 12;
  const optionBytes = family === 4 ? IPV4_OPTIONS.length : IPV6_EXTENSIONS * IPV6_EXTENSION_BYTES;
  const ports = inner + (family === 4 ? Ipv4 : Ipv6).size + (hasOptions ? optionBytes : 0);
  const checksum = ports + (kind === "udp" ? Udp : Tcp).offsets.checksum;
  return {
    family,
    net,
    source: inner + addresses.source + lastWord,
    destination: inner + addresses.destination + lastWord,
    ports,
    checksum: isReaddressed ? checksum : null,
    frameBytes: Math.max(FRAME_BYTES[family], ports + (kind === "udp" ? Udp : Tcp).size),
  };
}

/** The frame of flow 0 to the first destination. */
export function firstFrame(traffic: Traffic): Uint8Array {
  const { family, kind, destination, outer, tags = 0, hasOptions = false } = traffic;
  // One tag is always of the customer's kind (IEEE 802.1Q): the outer of two is the provider's.
  const link = TAGS.slice(TAGS.length - tags).reduce(
    (so, [tagType, id]) => so.vlan(id, { tagType }),
    eth(CLIENT_SIDE_MAC, DIRECTOR_MAC),
  );
  const around = outer ? link.ipv4(outer.source, outer.destination) : link;
  let network: NetworkLayer;
  if (family === 4) {
    const options = hasOptions ? { options: IPV4_OPTIONS } : {};
    network = around.ipv4(CLIENTS[4], destination, options);
  } else {
    network = around.ipv6(CLIENTS[6], destination);
    for (let left = hasOptions ? IPV6_EXTENSIONS : 0; left > 0; left -= 1) {
      network = network.extension(IPPROTO_DSTOPTS);
    }
  }
  const ports = { sourcePort: FIRST_SOURCE_PORT, destinationPort: PORT };
  const frame =
    kind === "udp"
      ? network.udp(ports)
      : network.tcp({ ...ports, flags: kind === "syn" ? "S" : "A" });
  return padTo(frame, FRAME_BYTES[family]);
}

/** The frame of `flow`. Checksums stay those of flow 0: nobody looks at them. */
export function frameOf(traffic: Traffic, flow: number): Uint8Array {
  const frame = firstFrame(traffic);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const at = shapeOf(traffic);
  view.setUint32(at.source, view.getUint32(at.source) + (flow & (2 ** CLIENT_BITS - 1)));
  view.setUint16(at.ports, FIRST_SOURCE_PORT + (flow >>> CLIENT_BITS));
  const mixed = Math.imul(flow, SPREAD) >>> 0;
  const chosen = Math.floor((mixed * traffic.destinations) / 2 ** 32);
  view.setUint32(at.destination, view.getUint32(at.destination) + chosen);
  return frame;
}
