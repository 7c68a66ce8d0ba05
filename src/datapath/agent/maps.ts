/** The agent's maps: two sets of addresses and the counters. */
import type { MapSpec } from "../../bpf/image.ts";
import { struct, u32 } from "../../bpf/layout.ts";
import { hash } from "../../bpf/maps.ts";
import type { IpAddress } from "../../net/address.ts";
import { type Counters, declareCounters } from "../counters.ts";
import { agentReasons } from "../reasons.ts";

/** A set's value: being there is what counts. */
export const Present = struct("present", { present: u32 });

export interface AgentMaps {
  /** Addresses outer headers may come from, as `addressKey`. */
  readonly directors: MapSpec;
  /** Addresses inner headers may go to, as `addressKey`. */
  readonly vips: MapSpec;
  /** Those of `agentReasons`. */
  readonly counters: Counters;
}

const ADDRESSES_MAX = 4096;
export const ADDRESS_KEY_SIZE = 16;

/** @param cpus one more than the highest CPU number that can be */
export function agentMaps(cpus: number): AgentMaps {
  return {
    directors: hash("carom_directors", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
    vips: hash("carom_vips", ADDRESS_KEY_SIZE, Present, ADDRESSES_MAX),
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
