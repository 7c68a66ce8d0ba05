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
import { eth, padTo } from "../src/packet/build.ts";
import { Ethernet, Ipv4, Ipv6 } from "../src/packet/headers.ts";

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

/** Headers of a frame up to the ports. */
export type Shape = "ipv4" | "ipv6" | "ipv4 in ipv4";

export const shapeOf = ({ family, outer }: Pick<Traffic, "family" | "outer">): Shape => {
  if (outer === undefined) return `ipv${family}`;
  if (family !== 4) throw new TypeError("Only IPv4 packets get an outer header here");
  return "ipv4 in ipv4";
};

/** Where in a frame lie the last 32 bits of both addresses, and the ports. */
export function offsetsOf(shape: Shape): Record<"source" | "destination" | "ports", number> {
  if (shape === "ipv6") {
    return {
      source: Ethernet.size + Ipv6.offsets.source + 12,
      destination: Ethernet.size + Ipv6.offsets.destination + 12,
      ports: Ethernet.size + Ipv6.size,
    };
  }
  const start = Ethernet.size + (shape === "ipv4" ? 0 : Ipv4.size);
  return {
    source: start + Ipv4.offsets.source,
    destination: start + Ipv4.offsets.destination,
    ports: start + Ipv4.size,
  };
}

/** The frame of flow 0 to the first destination. */
export function firstFrame({ family, kind, destination, outer }: Traffic): Uint8Array {
  const frameHeader = eth(CLIENT_SIDE_MAC, DIRECTOR_MAC);
  const link = outer ? frameHeader.ipv4(outer.source, outer.destination) : frameHeader;
  const network =
    family === 4 ? link.ipv4(CLIENTS[4], destination) : link.ipv6(CLIENTS[6], destination);
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
  const at = offsetsOf(shapeOf(traffic));
  view.setUint32(at.source, view.getUint32(at.source) + (flow & (2 ** CLIENT_BITS - 1)));
  view.setUint16(at.ports, FIRST_SOURCE_PORT + (flow >>> CLIENT_BITS));
  const mixed = Math.imul(flow, SPREAD) >>> 0;
  const chosen = Math.floor((mixed * traffic.destinations) / 2 ** 32);
  view.setUint32(at.destination, view.getUint32(at.destination) + chosen);
  return frame;
}
