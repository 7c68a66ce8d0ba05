/** What an agent's maps hold, and which program a configuration needs. */
import type { MapSpec } from "../../bpf/image.ts";
import type { AgentConfig } from "../../model/model.ts";
import { isWhole } from "../../net/prefix.ts";
import { addressKey, type AgentMaps, codePointKey, NamedVip, prefixKey, Present } from "./maps.ts";
import { type AgentVariant, tunnelKinds } from "./variant.ts";

export type AgentTables = Pick<AgentConfig, "vips" | "directors" | "tunnels" | "dscp">;

/** The program for a configuration, behind so many VLAN tags. */
export function agentVariant(
  maps: AgentMaps,
  { vips, tunnels, dscp }: AgentTables,
  vlanTags: number,
): AgentVariant {
  const families = new Set(dscp.map(({ address }) => address.family));
  return {
    maps,
    kinds: tunnelKinds,
    ports: tunnels,
    prefixes: vips.some((vip) => !isWhole(vip)),
    dscp: { ipv4: families.has(4), ipv6: families.has(6) },
    vlanTags,
  };
}

/** The maps that a variant has. */
export const mapsOf = ({ maps, prefixes, dscp }: AgentVariant): readonly MapSpec[] => [
  maps.directors,
  maps.vips,
  ...(prefixes ? [maps.prefixes] : []),
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
  for (const director of directors) yield { map: maps.directors, key: addressKey(director), value };
  for (const vip of vips) {
    if (isWhole(vip)) yield { map: maps.vips, key: addressKey(vip.address), value };
    else yield { map: maps.prefixes, key: prefixKey(vip), value };
  }
  for (const { address, vips: named } of dscp) {
    for (const [index, vip] of named.entries()) {
      const key = codePointKey(address, index + 1);
      const named = NamedVip.encode({ address: addressKey(vip) });
      yield { map: maps.codePoints, key, value: named };
    }
  }
}
