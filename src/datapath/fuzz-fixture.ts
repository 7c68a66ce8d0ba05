/**
 * Packets for the fuzz test: whole ones of every kind the programs know, then damaged ones. All of it
 * follows from a seed.
 */
import type { LinkLayer } from "../packet/build.ts";
import { padTo } from "../packet/build.ts";
import {
  ETH_P_ARP,
  IP_MF,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  IPPROTO_ROUTING,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../packet/headers.ts";

/** Numbers from a seed: Marsaglia's xorshift32 ("Xorshift RNGs", 2003). */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Its one fixed point is zero.
    this.#state = seed >>> 0 || 1;
  }

  /** An integer from 0 to `end` - 1. */
  below(end: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return Math.floor(((this.#state >>> 0) / 2 ** 32) * end);
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

export interface Addresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

interface Endpoints {
  readonly sources: Addresses;
  readonly destinations: Addresses;
  readonly ports: readonly number[];
}

type Network = ReturnType<LinkLayer["ipv4"]>;

/** An IP packet of a random kind inside `link`, which may be an outer IP header. */
export function randomPacket(
  random: Random,
  link: LinkLayer | Network,
  ends: Endpoints,
): Uint8Array {
  const payload = NOISE.subarray(random.below(256)).subarray(0, randomLength(random));
  const ports = { sourcePort: random.below(65_536), destinationPort: random.pick(ends.ports) };
  if (random.chance(0.5)) {
    const network = link.ipv4(random.pick(ends.sources.ipv4), random.pick(ends.destinations.ipv4), {
      tos: random.below(256),
      ttl: random.below(256),
      ...(random.chance(0.08) ? { flagsFragment: random.pick([IP_MF, 1, IP_MF | 100]) } : {}),
      ...(random.chance(0.08) ? { options: random.bytes(4 * random.below(11)) } : {}),
    });
    return transport(random, network, ports, payload);
  }
  let network = link.ipv6(random.pick(ends.sources.ipv6), random.pick(ends.destinations.ipv6), {
    versionClassFlow: (0x60000000 | random.below(1 << 28)) >>> 0,
    hopLimit: random.below(256),
  });
  // Up to more than a director follows.
  for (let left = random.chance(0.1) ? random.pick([1, 1, 2, 4, 5]) : 0; left > 0; left -= 1) {
    network = network.extension(random.pick([IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS]));
  }
  if (random.chance(0.08)) {
    network = network.fragment({ offsetBytes: 8 * random.below(20), more: random.chance(0.5) });
  }
  return transport(random, network, ports, payload);
}

function transport(
  random: Random,
  network: Network,
  ports: { readonly sourcePort: number; readonly destinationPort: number },
  payload: Uint8Array,
): Uint8Array {
  switch (random.below(20)) {
    case 0:
      return network.icmp({ type: random.below(20) }, payload);
    case 1:
      return network.icmpv6({ type: random.below(256) }, payload);
    case 2:
      return network.raw(random.below(256), payload);
    default:
      if (random.chance(0.4)) return network.udp(ports, payload);
      return network.tcp({ ...ports, flags: random.below(256) }, payload);
  }
}

/** What payloads are cut from: its bytes matter to checksums only. */
const NOISE = new Random(1).bytes(2048);

/** Mostly short; now and then about as long as an MTU, from both sides. */
const randomLength = (random: Random): number =>
  random.chance(0.1) ? 1200 + random.below(320) : random.below(40);

/** Values that headers mean something by. */
const MEANINGFUL: readonly number[] = [
  0,
  1,
  4,
  8,
  20,
  28,
  40,
  0x45,
  0x46,
  0x4f,
  0x60,
  127,
  128,
  255,
  IPPROTO_ICMP,
  IPPROTO_IPIP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_IPV6,
  IPPROTO_ROUTING,
  IPPROTO_FRAGMENT,
  IPPROTO_ICMPV6,
  IPPROTO_DSTOPTS,
];
/** Both headers of a tunnel lie before it. */
const HEADERS_END = 110;

/** `packet` damaged in one to four ways, at least 14 bytes long. */
export function damaged(random: Random, packet: Uint8Array): Uint8Array {
  let out: Uint8Array = packet.slice();
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    // Beyond the MACs, or hardly any packet would get past them.
    const at = 12 + random.below(Math.min(out.length, HEADERS_END) - 12);
    switch (random.below(8)) {
      case 0:
        out[at] = random.below(256);
        break;
      case 1:
        out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 2:
      case 3:
        out[at] = random.pick(MEANINGFUL);
        break;
      case 4:
        if (random.chance(0.3)) out = out.slice(0, 14 + random.below(out.length - 13));
        break;
      case 5:
        out = padTo(out, out.length + random.below(64));
        break;
      case 6:
        // Makes the last bytes of a header nearly right: a length or an offset one off.
        out[at] = ((out[at] ?? 0) + random.pick([1, 255])) & 0xff;
        break;
      default:
        if (random.chance(0.1)) out[random.below(6)] = random.below(256);
        else out.set(random.bytes(Math.min(2, out.length - at)), at);
    }
  }
  return out;
}

/** A frame of another protocol, or of no meaning at all. */
export function randomFrame(random: Random, link: LinkLayer): Uint8Array {
  return random.chance(0.3)
    ? link.raw(ETH_P_ARP, random.bytes(28))
    : link.raw(
        random.pick([0x0800, 0x86dd, random.below(65_536)]),
        random.bytes(random.below(120)),
      );
}
