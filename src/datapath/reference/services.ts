/** Which service a packet is for, and which of its pool's buckets it falls into. */
import { prefixContains } from "../../net/prefix.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../packet/headers.ts";
import { flowHash } from "../flow-hash.ts";
import { viewOf } from "./bytes.ts";
import type { Parsed } from "./parse.ts";
import type { ReferenceService, ReferenceWorld } from "./world.ts";

/** Whether some service has this address, whatever the protocol and the port. */
export const isVip = ({ services }: ReferenceWorld, address: Uint8Array): boolean =>
  services.some(({ vip }) => prefixContains(vip, ipOf(address)));

/** The most specific service: the longest prefix, then a named protocol, then the fewest ports. */
export function serviceFor({ services }: ReferenceWorld, packet: Parsed): ReferenceService | null {
  const hasPorts = packet.protocol === IPPROTO_TCP || packet.protocol === IPPROTO_UDP;
  let best: ReferenceService | null = null;
  for (const service of services) {
    const { vip, protocol, ports } = service;
    if (!prefixContains(vip, ipOf(packet.destination))) continue;
    if (protocol !== null && protocol !== packet.protocol) continue;
    if (hasPorts && packet.destinationPort < ports.first) continue;
    if (hasPorts && packet.destinationPort > ports.last) continue;
    if (best === null || isMoreSpecific(service, best)) best = service;
  }
  return best;
}

function isMoreSpecific(a: ReferenceService, b: ReferenceService): boolean {
  if (a.vip.length !== b.vip.length) return a.vip.length > b.vip.length;
  if ((a.protocol === null) !== (b.protocol === null)) return b.protocol === null;
  return a.ports.last - a.ports.first < b.ports.last - b.ports.first;
}

/** docs/design/flow-hash.md; words that are not in the service's key are 0. */
export function hashOf(
  { hashKey: key }: ReferenceWorld,
  { hashKey }: ReferenceService,
  packet: Parsed,
): number {
  const zeros = wordsOf(packet.destination).map(() => 0);
  const from = swapped(packet.sourcePort);
  const to = swapped(packet.destinationPort) * 2 ** 16;
  const source = wordsOf(packet.source);
  switch (hashKey) {
    case "five-tuple":
      return flowHash(key, [...source, ...wordsOf(packet.destination), from + to, packet.protocol]);
    case "client":
      return flowHash(key, [...source, ...zeros, 0, 0]);
    case "client-vip":
      return flowHash(key, [...source, ...wordsOf(packet.destination), 0, 0]);
    case "client-port":
      return flowHash(key, [...source, ...zeros, to, 0]);
  }
}

const wordsOf = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length / 4 }, (_, word) => viewOf(bytes).getUint32(word * 4, true));

const swapped = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

const ipOf = (bytes: Uint8Array) => ({
  family: bytes.length === 4 ? (4 as const) : (6 as const),
  bytes,
});
