/**
 * How much memory the search for services with prefixes, ranges or all ports can take: a bound from
 * above, of what can be counted without laying it out (`datapath/director/wide-plan.ts` does that).
 */
import { formatPrefix, type IpPrefix, masked } from "../net/prefix.ts";
import type { PortRange } from "./model.ts";
import { arenaRecordBytes } from "./arena-size.ts";

/** One prefix, a protocol and its ports. */
export interface SearchedService {
  readonly vip: IpPrefix;
  readonly ports: readonly PortRange[];
}

export interface SearchSize {
  readonly bytes: number;
  /** Distinct prefixes of each family: the index has at most one key for each. */
  readonly ipv4Prefixes: number;
  readonly ipv6Prefixes: number;
}

/** A table of 256 words. */
const TABLE_BYTES = 1024;
const END_BYTES = 16;

/** The most that these services take. */
export function searchSizeMost(services: readonly SearchedService[]): SearchSize {
  const prefixes = new Map<string, { readonly vip: IpPrefix; bytes: number }>();
  let slots = 0;
  for (const { vip, ports } of services) {
    slots += ports.length;
    const known = prefixes.get(formatPrefix(vip)) ?? { vip, bytes: 0 };
    known.bytes += portTables(ports) * TABLE_BYTES;
    prefixes.set(formatPrefix(vip), known);
  }
  let bytes = slots * arenaRecordBytes.serviceSlot;
  const count = { 4: 0, 6: 0 };
  const lengths = {
    4: lengthsOf(prefixes.values(), 4),
    6: lengthsOf(prefixes.values(), 6),
  };
  for (const { vip } of prefixes.values()) {
    const { family } = vip.address;
    count[family] += 1;
    const levels = Math.ceil((vip.length - Math.min(...lengths[family])) / 8) + 1;
    bytes += levels * TABLE_BYTES + END_BYTES;
    // A packet that its own services do not want goes to those of the shorter prefixes around it.
    for (const length of lengths[family]) {
      if (length > vip.length) continue;
      const around = { address: masked(vip.address, length), length };
      bytes += prefixes.get(formatPrefix(around))?.bytes ?? 0;
    }
  }
  return { bytes, ipv4Prefixes: count[4], ipv6Prefixes: count[6] };
}

/** Tables by the upper byte of the port, then by the lower where a range does not fill it. */
function portTables(ports: readonly PortRange[]): number {
  const partial = new Set<number>();
  let isDivided = false;
  for (const { first, last } of ports) {
    if (first === 0 && last === 65_535) continue;
    isDivided = true;
    if ((first & 0xff) !== 0) partial.add(first >> 8);
    if ((last & 0xff) !== 0xff) partial.add(last >> 8);
  }
  return isDivided ? partial.size + 1 : 0;
}

const lengthsOf = (
  prefixes: Iterable<{ readonly vip: IpPrefix }>,
  family: 4 | 6,
): readonly number[] => [
  ...new Set(
    [...prefixes].flatMap(({ vip }) => (vip.address.family === family ? [vip.length] : [])),
  ),
];
