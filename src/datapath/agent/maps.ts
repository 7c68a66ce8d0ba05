/** The agent's maps: who may send to whom, and the counters. */
import type { MapSpec } from "../../bpf/image.ts";
import { bytes, struct, u32 } from "../../bpf/layout.ts";
import { hash, prefixTrie } from "../../bpf/maps.ts";
import type { IpAddress } from "../../net/address.ts";
import type { IpPrefix } from "../../net/prefix.ts";
import { type Counters, declareCounters } from "../counters.ts";
import { agentReasons } from "../reasons.ts";

/** A set's value: being there is what counts. */
export const Present = struct("present", { present: u32 });
/** The VIP that a code point names, as `addressKey`. */
export const NamedVip = struct("named_vip", { address: bytes(16) });

export interface AgentMaps {
  /** Addresses outer headers may come from, as `addressKey`. */
  readonly directors: MapSpec;
  /** The same of prefixes, as `prefixKey`. */
  readonly directorPrefixes: MapSpec;
  /** Addresses inner headers may go to, as `addressKey`. */
  readonly vips: MapSpec;
  /** The same of prefixes, as `prefixKey`. */
  readonly prefixes: MapSpec;
  /** VIPs by an address of this host and a code point, as `codePointKey`. */
  readonly codePoints: MapSpec;
  /** Those of `agentReasons`. */
  readonly counters: Counters;
}

const ADDRESSES_MAX = 4096;
export const ADDRESS_KEY_SIZE = 16;

/** @param cpus one more than the highest CPU number that can be */
export function agentMaps(cpus: number): AgentMaps {
  return {
    directors: hash("carom_directors", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
    directorPrefixes: prefixTrie("carom_sources", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
    vips: hash("carom_vips", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
    prefixes: prefixTrie("carom_prefixes", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
    codePoints: hash("carom_dscp", ADDRESS_KEY_SIZE + 4, NamedVip, ADDRESSES_MAX),
    counters: declareCounters("carom_counters", agentReasons.length, cpus),
  };
}

/** An address as a key: 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2). */
export function addressKey(address: IpAddress): Uint8Array {
  if (address.family === 6) return Uint8Array.from(address.bytes);
  const key = new Uint8Array(ADDRESS_KEY_SIZE);
  key.set([0xff, 0xff], 10);
  key.set(address.bytes, 12);
  return key;
}

/** A prefix as a key: its length in bits of the 16 bytes, in the machine's byte order, then those. */
export function prefixKey({ address, length }: IpPrefix): Uint8Array {
  const key = new Uint8Array(4 + ADDRESS_KEY_SIZE);
  new DataView(key.buffer).setUint32(0, length + (address.family === 4 ? 96 : 0), true);
  key.set(addressKey(address), 4);
  return key;
}

/** An address and a code point as a key, the latter in the machine's byte order. */
export function codePointKey(address: IpAddress, codePoint: number): Uint8Array {
  const key = new Uint8Array(ADDRESS_KEY_SIZE + 4);
  key.set(addressKey(address));
  new DataView(key.buffer).setUint32(ADDRESS_KEY_SIZE, codePoint, true);
  return key;
}
