/** Small programs beside the forwarders, each with its equal in `bench/oracle/`. */
import type { Program } from "../src/bpf/program.ts";
import { all, type Value } from "../src/bpf/value.ts";
import { xdp, XDP_DROP, XDP_PASS, XDP_TX } from "../src/bpf/xdp.ts";
import { ip } from "../src/net/address.ts";
import {
  ETH_P_IP,
  Ethernet,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Udp,
} from "../src/packet/headers.ts";
import { HASH_KEY } from "./world.ts";
import { emitWholeHash } from "./whole-hash.ts";

/** The flow hash of an IPv6 five-tuple, left in the first four bytes of the frame. */
export function flowHashProgram(): Program {
  return xdp("bench_hash", (p) => {
    const packet = p.packet();
    const verdict = p.variable(XDP_PASS, 8);
    const leave = p.exit(() => p.return(verdict));
    packet.require(Ethernet.size + Ipv6.size + Udp.size, leave);
    const ip6 = packet.data.plus(Ethernet.size).as(Ipv6);
    const ports = packet.data.plus(Ethernet.size + Ipv6.size);
    const words = [
      ...[0, 4, 8, 12].map((at) => ip6.source.word(at, 4).read()),
      ...[0, 4, 8, 12].map((at) => ip6.destination.word(at, 4).read()),
      ports.place(4).read(),
      ip6.nextHeader.read(),
    ];
    packet.data.place(4).set(emitWholeHash(p, HASH_KEY, words));
    verdict.set(XDP_TX);
    p.goto(leave);
  });
}

/** A rule of the filter. */
export interface Rule {
  readonly network: string;
  readonly prefixLength: number;
  readonly protocol: number;
  /** Destination ports, both included. */
  readonly ports: readonly [number, number];
  readonly leastSourcePort: number;
  readonly verdict: number;
}

/** Twenty rules, in C the very same ones; the last asks for no network. */
export const filterRules: readonly Rule[] = Array.from({ length: 20 }, (_, index) => ({
  network: index === 19 ? "0.0.0.0" : `198.${18 + (index & 1)}.${index * 13}.0`,
  prefixLength: index === 19 ? 0 : 20 + (index % 5),
  protocol: index % 7 === 3 ? IPPROTO_UDP : IPPROTO_TCP,
  ports: index % 3 === 0 ? [80, 80] : [index, 1024 + index],
  leastSourcePort: index % 4 === 1 ? 1026 : 0,
  verdict: index % 2 === 0 ? XDP_TX : XDP_DROP,
}));

/** Host order, and as an unsigned number. */
export function networkOf({ network, prefixLength }: Rule): { address: number; mask: number } {
  const { bytes } = ip(network);
  const mask = prefixLength === 0 ? 0 : (-1 << (32 - prefixLength)) >>> 0;
  const address = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return { address: (address & mask) >>> 0, mask };
}

/** The first rule that fits says what becomes of the packet; its number is left in the first byte. */
export function filterProgram(rules: readonly Rule[] = filterRules): Program {
  return xdp("bench_filter", (p) => {
    const packet = p.packet();
    packet.require(Ethernet.size + Ipv4.size + Udp.size, XDP_PASS);
    p.require(packet.data.as(Ethernet).etherType.eq(ETH_P_IP), XDP_PASS);
    const header = packet.data.plus(Ethernet.size).as(Ipv4);
    const transport = packet.data.plus(Ethernet.size + Ipv4.size).as(Udp);
    p.require(header.versionIhl.eq(0x45), XDP_PASS);
    const protocol = header.protocol.read();
    const source = header.source.read().toHost();
    const sourcePort = transport.sourcePort.read().toHost();
    const port = transport.destinationPort.read().toHost();
    const number = p.variable(0, 1);
    const leave = (verdict: number) =>
      p.exit(() => {
        packet.data.place(1).set(number);
        p.return(verdict);
      });
    const matched = new Map([XDP_TX, XDP_DROP].map((verdict) => [verdict, leave(verdict)]));
    const networks = new Map<number, Value>();
    rules.forEach((rule, index) => {
      const { address, mask } = networkOf(rule);
      const conditions = [
        protocol.eq(rule.protocol),
        port.ge(rule.ports[0]),
        port.le(rule.ports[1]),
        ...(rule.leastSourcePort > 0 ? [sourcePort.ge(rule.leastSourcePort)] : []),
      ];
      if (mask !== 0) {
        const network = networks.get(mask) ?? source.and(mask | 0);
        networks.set(mask, network);
        conditions.unshift(network.eq(address | 0));
      }
      const hit = p.exit(() => {
        number.set(index);
        p.goto(matched.get(rule.verdict) ?? XDP_PASS);
      });
      p.leaveIf(all(...conditions), hit);
    });
    number.set(NO_RULE);
    p.goto(matched.get(XDP_DROP) ?? XDP_PASS);
  });
}

const NO_RULE = 255;
const SUMMED_BYTES = 64;

/** The sum over the first 64 bytes of a frame (RFC 1071), in a loop, left in the first two. */
export function checksumProgram(): Program {
  return xdp("bench_checksum", (p) => {
    const packet = p.packet();
    packet.require(SUMMED_BYTES, XDP_PASS);
    const [sum, offset] = [p.variable(0, 8), p.variable(0, 8)];
    p.loop(({ done }) => {
      sum.set(sum.add(packet.data.plus(offset).place(4).read().u64()));
      offset.set(offset.add(4));
      p.leaveIf(offset.ge(SUMMED_BYTES), done);
    });
    let folded = sum.u32().u64().add(sum.shr(32));
    folded = folded.and(0xffff).add(folded.shr(16));
    folded = folded.and(0xffff).add(folded.shr(16));
    folded = folded.add(folded.shr(16));
    packet.data.place(2).set(folded.xor(0xffff));
    p.return(XDP_TX);
  });
}
