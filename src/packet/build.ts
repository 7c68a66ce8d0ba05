/**
 * Packets are built, not pasted: `eth(A, B).ipv4(CLIENT, VIP).tcp({ destinationPort: 80, flags: "S" })`.
 * Lengths, protocols and checksums are filled in from the inside out; any field of a header can be
 * given instead, right or wrong, for malformed packets. The last layer gives the bytes.
 */
import { formatIp, type IpAddress, ip } from "../net/address.ts";
import { type Mac, mac } from "../net/mac.ts";
import { internetChecksum, pseudoHeaderSum } from "./checksum.ts";
import {
  ETH_P_8021Q,
  ETH_P_IP,
  ETH_P_IPV6,
  Ethernet,
  type EthernetHeader,
  ICMP_ECHO,
  ICMPV6_ECHO_REQUEST,
  Icmp,
  type IcmpHeader,
  IP_DF,
  IP6_MF,
  IP6_OFFSET,
  IPPROTO_FRAGMENT,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  type Ipv4Header,
  Ipv6,
  Ipv6Extension,
  Ipv6Fragment,
  type Ipv6Header,
  Tcp,
  TcpFlag,
  type TcpHeader,
  Udp,
  type UdpHeader,
  Vlan,
} from "./headers.ts";

type Address = IpAddress | string;
/** Text stands for its UTF-8 bytes. */
type Payload = Uint8Array | string;

type Ipv4Given = Partial<Omit<Ipv4Header, "source" | "destination">> & {
  /** RFC 791 options, a multiple of 4 bytes, at most 40. */
  readonly options?: Uint8Array;
};
type Ipv6Given = Partial<Omit<Ipv6Header, "source" | "destination">>;
type TcpGiven = Partial<Omit<TcpHeader, "flags">> & {
  /** Letters of `FSRPAUEC`, or the byte. Default `A`. */
  readonly flags?: string | number;
  /** A multiple of 4 bytes, at most 40. */
  readonly options?: Uint8Array;
};
type EchoGiven = Partial<IcmpHeader> & {
  readonly identifier?: number;
  readonly sequence?: number;
};
interface FragmentGiven {
  /** A multiple of 8. */
  readonly offsetBytes?: number;
  readonly more?: boolean;
  readonly identification?: number;
}

/** What can follow a link layer. */
export interface LinkLayer {
  /** An 802.1Q tag; `tagType` ETH_P_8021AD for the outer of two. */
  vlan(id: number, given?: { readonly priority?: number; readonly tagType?: number }): LinkLayer;
  ipv4(source: Address, destination: Address, given?: Ipv4Given): NetworkLayer;
  ipv6(source: Address, destination: Address, given?: Ipv6Given): NetworkLayer;
  /** Ends the packet with bytes of another protocol. */
  raw(etherType: number, payload?: Payload): Uint8Array;
}

/** What can follow an IP header. */
export interface NetworkLayer {
  ipv4(source: Address, destination: Address, given?: Ipv4Given): NetworkLayer;
  ipv6(source: Address, destination: Address, given?: Ipv6Given): NetworkLayer;
  /** An IPv6 extension header of `type` (IPPROTO_HOPOPTS ...); `body` of 8n - 6 bytes, default PadN. */
  extension(type: number, body?: Uint8Array): NetworkLayer;
  /** An IPv6 fragment header. The transport checksum then covers this fragment alone. */
  fragment(given?: FragmentGiven): NetworkLayer;
  tcp(given?: TcpGiven, payload?: Payload): Uint8Array;
  udp(given?: Partial<UdpHeader>, payload?: Payload): Uint8Array;
  /** An echo request unless `type` says otherwise. */
  icmp(given?: EchoGiven, payload?: Payload): Uint8Array;
  icmpv6(given?: EchoGiven, payload?: Payload): Uint8Array;
  /** Ends the packet with bytes of another protocol, or a later fragment's. */
  raw(protocol: number, payload?: Payload): Uint8Array;
}

/** An Ethernet frame without FCS or padding. MACs default to 00:00:5e:00:53:01 and :02 (RFC 7042 §2.1.2). */
export function eth(
  source: Mac | string = "00:00:5e:00:53:01",
  destination: Mac | string = "00:00:5e:00:53:02",
  given: Partial<Pick<EthernetHeader, "etherType">> = {},
): LinkLayer {
  return linkLayer((inner) => ({
    protocol: NOT_IP,
    etherType: NOT_IP,
    bytes: concat(
      Ethernet.encode({
        source: macOf(source),
        destination: macOf(destination),
        etherType: inner.etherType,
        ...given,
      }),
      inner.bytes,
    ),
  }));
}

/** An IP packet without a link layer: what a tun device reads, or an ICMP error quotes. */
export const bare = (): LinkLayer => linkLayer((inner) => inner);

/** `packet` with zeros up to `sizeBytes`, as a sender pads short frames (60 without FCS). */
export function padTo(packet: Uint8Array, sizeBytes: number): Uint8Array {
  return concat(packet, new Uint8Array(Math.max(0, sizeBytes - packet.length)));
}

/** The TCP option that announces the largest segment (RFC 9293 §3.7.1). */
export const mssOption = (sizeBytes: number): Uint8Array =>
  Uint8Array.of(2, 4, sizeBytes >>> 8, sizeBytes);

/** What a layer encloses: its bytes, and how the layer outside calls it. */
interface Inner {
  readonly etherType: number;
  readonly protocol: number;
  readonly bytes: Uint8Array;
}
type Wrap = (inner: Inner) => Inner;
type Sum = (protocol: number, length: number) => number;

const NOT_IP = 0xffff;

function linkLayer(wrap: Wrap): LinkLayer {
  return {
    vlan: (id, { priority = 0, tagType = ETH_P_8021Q } = {}) =>
      linkLayer((inner) => {
        const tag = Vlan.encode({ control: (priority << 13) | id, etherType: inner.etherType });
        return wrap({ protocol: NOT_IP, etherType: tagType, bytes: concat(tag, inner.bytes) });
      }),
    ipv4: (source, destination, given) => ipv4Layer(wrap, source, destination, given),
    ipv6: (source, destination, given) => ipv6Layer(wrap, source, destination, given),
    raw: (etherType, payload) =>
      wrap({ protocol: NOT_IP, etherType, bytes: bytesOf(payload) }).bytes,
  };
}

function ipv4Layer(wrap: Wrap, from: Address, to: Address, given: Ipv4Given = {}): NetworkLayer {
  const [source, destination] = [bytesOfIp(from, 4), bytesOfIp(to, 4)];
  const { options = new Uint8Array(), ...fields } = given;
  return networkLayer(pseudo(source, destination), (inner) => {
    const size = Ipv4.size + options.length;
    const header = concat(
      Ipv4.encode({
        versionIhl: 0x40 | (size >> 2),
        totalLength: size + inner.bytes.length,
        flagsFragment: IP_DF,
        ttl: 64,
        protocol: inner.protocol,
        ...fields,
      }),
      options,
    );
    header.set(source, Ipv4.offsets.source);
    header.set(destination, Ipv4.offsets.destination);
    withChecksum(header, Ipv4.offsets.checksum, fields.checksum, 0);
    return wrap({
      etherType: ETH_P_IP,
      protocol: IPPROTO_IPIP,
      bytes: concat(header, inner.bytes),
    });
  });
}

function ipv6Layer(wrap: Wrap, from: Address, to: Address, given: Ipv6Given = {}): NetworkLayer {
  const [source, destination] = [bytesOfIp(from, 6), bytesOfIp(to, 6)];
  return networkLayer(pseudo(source, destination), (inner) => {
    const header = Ipv6.encode({
      versionClassFlow: 0x60000000,
      payloadLength: inner.bytes.length,
      nextHeader: inner.protocol,
      hopLimit: 64,
      source,
      destination,
      ...given,
    });
    return wrap({
      etherType: ETH_P_IPV6,
      protocol: IPPROTO_IPV6,
      bytes: concat(header, inner.bytes),
    });
  });
}

function networkLayer(sum: Sum, wrap: Wrap): NetworkLayer {
  const end = (protocol: number, ...parts: Uint8Array[]): Uint8Array =>
    wrap({ etherType: NOT_IP, protocol, bytes: concat(...parts) }).bytes;
  return {
    ipv4: (source, destination, given) => ipv4Layer(wrap, source, destination, given),
    ipv6: (source, destination, given) => ipv6Layer(wrap, source, destination, given),
    extension: (type, body = Uint8Array.of(1, 4, 0, 0, 0, 0)) =>
      networkLayer(sum, (inner) => {
        const length = (Ipv6Extension.size + body.length - 8) / 8;
        const header = Ipv6Extension.encode({ nextHeader: inner.protocol, length });
        return wrap({
          etherType: NOT_IP,
          protocol: type,
          bytes: concat(header, body, inner.bytes),
        });
      }),
    fragment: ({ offsetBytes = 0, more = false, identification = 1 } = {}) =>
      networkLayer(sum, (inner) => {
        const offsetFlags = (offsetBytes & IP6_OFFSET) | (more ? IP6_MF : 0);
        const header = Ipv6Fragment.encode({
          nextHeader: inner.protocol,
          offsetFlags,
          identification,
        });
        const bytes = concat(header, inner.bytes);
        return wrap({ etherType: NOT_IP, protocol: IPPROTO_FRAGMENT, bytes });
      }),
    tcp: (given, payload) => end(IPPROTO_TCP, tcpSegment(sum, given, bytesOf(payload))),
    udp: (given, payload) => end(IPPROTO_UDP, udpDatagram(sum, given, bytesOf(payload))),
    icmp: (given = {}, payload) => {
      const message = icmpMessage({ type: ICMP_ECHO, ...given }, bytesOf(payload));
      // RFC 792: ICMP covers no pseudo header.
      return end(IPPROTO_ICMP, withChecksum(message, Icmp.offsets.checksum, given.checksum, 0));
    },
    icmpv6: (given = {}, payload) => {
      const message = icmpMessage({ type: ICMPV6_ECHO_REQUEST, ...given }, bytesOf(payload));
      const initial = sum(IPPROTO_ICMPV6, message.length);
      return end(
        IPPROTO_ICMPV6,
        withChecksum(message, Icmp.offsets.checksum, given.checksum, initial),
      );
    },
    raw: (protocol, payload) => end(protocol, bytesOf(payload)),
  };
}

function tcpSegment(sum: Sum, given: TcpGiven = {}, payload: Uint8Array): Uint8Array {
  const { options = new Uint8Array(), flags = "A", ...fields } = given;
  const header = Tcp.encode({
    sourcePort: 40_000,
    destinationPort: 80,
    dataOffset: ((Tcp.size + options.length) >> 2) << 4,
    window: 65_535,
    ...fields,
    flags: typeof flags === "number" ? flags : flagBits(flags),
  });
  const segment = concat(header, options, payload);
  return withChecksum(
    segment,
    Tcp.offsets.checksum,
    given.checksum,
    sum(IPPROTO_TCP, segment.length),
  );
}

function udpDatagram(sum: Sum, given: Partial<UdpHeader> = {}, payload: Uint8Array): Uint8Array {
  const length = Udp.size + payload.length;
  const header = Udp.encode({ sourcePort: 40_000, destinationPort: 53, length, ...given });
  const datagram = concat(header, payload);
  const done = withChecksum(
    datagram,
    Udp.offsets.checksum,
    given.checksum,
    sum(IPPROTO_UDP, length),
  );
  // RFC 768: zero means "no checksum", a computed zero is sent as all ones.
  if (given.checksum === undefined && Udp.read(done).checksum === 0) {
    Udp.write(done, { checksum: 0xffff });
  }
  return done;
}

function icmpMessage(given: EchoGiven, payload: Uint8Array): Uint8Array {
  const { identifier = 1, sequence = 1, ...fields } = given;
  const echo = ((identifier << 16) | sequence) >>> 0;
  return concat(Icmp.encode({ rest: echo, ...fields }), payload);
}

function withChecksum(
  message: Uint8Array,
  at: number,
  given: number | undefined,
  initial: number,
): Uint8Array {
  const view = new DataView(message.buffer, message.byteOffset);
  view.setUint16(at, 0);
  view.setUint16(at, given ?? internetChecksum(message, initial));
  return message;
}

function flagBits(letters: string): number {
  let bits = 0;
  for (const letter of letters) {
    const bit = (TcpFlag as Readonly<Record<string, number>>)[letter];
    if (bit === undefined) {
      throw new TypeError(`Cannot build TCP flags "${letters}": "${letter}" is none of FSRPAUEC`);
    }
    bits |= bit;
  }
  return bits;
}

function bytesOfIp(address: Address, family: 4 | 6): Uint8Array {
  const parsed = typeof address === "string" ? ip(address) : address;
  if (parsed.family !== family) {
    throw new TypeError(
      `Cannot build an IPv${family} header: "${formatIp(parsed)}" is of IPv${parsed.family}`,
    );
  }
  return parsed.bytes;
}

const pseudo =
  (source: Uint8Array, destination: Uint8Array): Sum =>
  (protocol, length) =>
    pseudoHeaderSum(source, destination, protocol, length);

const macOf = (address: Mac | string): Mac =>
  typeof address === "string" ? mac(address) : address;

const bytesOf = (payload: Payload = new Uint8Array()): Uint8Array =>
  typeof payload === "string" ? new TextEncoder().encode(payload) : payload;

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
