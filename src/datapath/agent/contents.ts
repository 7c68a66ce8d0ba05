/** What an agent's maps hold, and which program a configuration needs. */
import type { MapSpec } from "../../bpf/image.ts";
import type { AgentConfig } from "../../model/model.ts";
import { type IpPrefix, isWhole } from "../../net/prefix.ts";
import { addressKey, type AgentMaps, codePointKey, NamedVip, prefixKey, Present } from "./maps.ts";
import { type AgentVariant, tunnelKinds } from "./variant.ts";

export type AgentTables = Pick<AgentConfig, "vips" | "directors" | "tunnels" | "dscp">;

/** The program for a configuration, behind so many VLAN tags. */
export function agentVariant(
  maps: AgentMaps,
  { vips, directors, tunnels, dscp }: AgentTables,
  vlanTags: number,
): AgentVariant {
  const families = new Set(dscp.map(({ address }) => address.family));
  return {
    maps,
    kinds: tunnelKinds,
    ports: tunnels,
    prefixes: {
      vips: vips.some((vip) => !isWhole(vip)),
      directors: directors.some((director) => !isWhole(director)),
    },
    dscp: { ipv4: families.has(4), ipv6: families.has(6) },
    vlanTags,
  };
}

/** The maps that a variant has. */
export const mapsOf = ({ maps, prefixes, dscp }: AgentVariant): readonly MapSpec[] => [
  maps.directors,
  maps.vips,
  ...(prefixes.directors ? [maps.directorPrefixes] : []),
  ...(prefixes.vips ? [maps.prefixes] : []),
  ...(dscp.ipv4 || dscp.ipv6 ? [maps.codePoints] : []),
  maps.counters.map,
];

export interface MapEntry {
  readonly map: MapSpec;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Every entry of the maps. */
export function* agentEntries(
  maps: AgentMaps,
  { vips, directors, dscp }: AgentTables,
): Generator<MapEntry> {
  const value = Present.encode({ present: 1 });
  const entry = (prefix: IpPrefix, whole: MapSpec, trie: MapSpec): MapEntry =>
    isWhole(prefix)
      ? { map: whole, key: addressKey(prefix.address), value }
      : { map: trie, key: prefixKey(prefix), value };
  for (const director of directors) yield entry(director, maps.directors, maps.directorPrefixes);
  for (const vip of vips) yield entry(vip, maps.vips, maps.prefixes);
  for (const { address, vips: named } of dscp) {
    for (const [index, vip] of named.entries()) {
      const key = codePointKey(address, index + 1);
      const named = NamedVip.encode({ address: addressKey(vip) });
      yield { map: maps.codePoints, key, value: named };
    }
  }
}
