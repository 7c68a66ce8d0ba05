/** The answer to a packet whose last hop this is (RFC 792, RFC 4443 §3.3), and whether there is one. */
import type { IpAddress } from "../../net/address.ts";
import { internetChecksum, pseudoHeaderSum } from "../../packet/checksum.ts";
import { Icmp, IPPROTO_ICMP, IPPROTO_ICMPV6, Ipv4, Ipv6 } from "../../packet/headers.ts";
import { concat, viewOf } from "./bytes.ts";
import type { Parsed } from "./parse.ts";

/** The generic cell rate algorithm (ITU-T I.371). */
export class Limit {
  readonly #interval: bigint;
  readonly #burst: bigint;
  #due = 0n;

  constructor({ interval, burst }: { readonly interval: bigint; readonly burst: bigint }) {
    this.#interval = interval;
    this.#burst = burst;
  }

  allows(now: bigint): boolean {
    if (this.#due > now + this.#burst) return false;
    this.#due = (this.#due > now ? this.#due : now) + this.#interval;
    return true;
  }
}

/** Whether the sender is a station of its own. */
export function canBeAnswered({ family, source }: Parsed): boolean {
  const [first = 0] = source;
  const isAll = (byte: number, from = 0, to = source.length): boolean =>
    source.subarray(from, to).every((each) => each === byte);
  if (isAll(0)) return false;
  if (family === 4) return first !== 127 && first >> 4 !== 0xe && !isAll(0xff);
  return first !== 0xff && !(isAll(0, 0, 15) && source[15] === 1);
}

/** The frame that goes back. */
export function timeExceeded(frame: Uint8Array, packet: Parsed, own: IpAddress): Uint8Array {
  const ip = frame.subarray(packet.linkBytes);
  const link = concat(
    frame.subarray(6, 12),
    frame.subarray(0, 6),
    frame.subarray(12, packet.linkBytes),
  );
  const quote = ip.subarray(0, (packet.family === 4 ? packet.headerBytes : Ipv6.size) + 8);
  const message = concat(Icmp.encode({ type: packet.family === 4 ? 11 : 3 }), quote);
  const initial =
    packet.family === 4
      ? 0
      : pseudoHeaderSum(own.bytes, packet.source, IPPROTO_ICMPV6, message.length);
  Icmp.write(message, { checksum: internetChecksum(message, initial) });
  if (packet.family === 6) {
    const header = Ipv6.encode({
      versionClassFlow: (6 << 28) >>> 0,
      payloadLength: message.length,
      nextHeader: IPPROTO_ICMPV6,
      hopLimit: 64,
      source: own.bytes,
      destination: packet.source,
    });
    return concat(link, header, message);
  }
  const header = Ipv4.encode({
    versionIhl: 0x45,
    totalLength: Ipv4.size + message.length,
    ttl: 64,
    protocol: IPPROTO_ICMP,
    source: viewOf(own.bytes).getUint32(0),
    destination: viewOf(packet.source).getUint32(0),
  });
  Ipv4.write(header, { checksum: internetChecksum(header) });
  return concat(link, header, message);
}
