/** The director's maps. Their sizes follow the configuration; everything else about them is fixed. */
import type { MapSpec } from "../../bpf/image.ts";
import { globalData } from "../../bpf/maps.ts";
import { type IndexShape, indexLayout } from "../../model/arena-size.ts";
import { type ArenaMap, declareArena } from "../arena.ts";
import { type Counters, declareCounters } from "../counters.ts";
import { Limits } from "../layout.ts";
import { directorReasons } from "../reasons.ts";

export interface DirectorMaps {
  /** `layout.ts` says what lies in it. Written by the daemon through memory, read by the program. */
  readonly arena: ArenaMap;
  readonly index: IndexShape;
  /** First those of `directorReasons`, then those of services and members (`trafficCounter`). */
  readonly counters: Counters;
  /** `Limits`. */
  readonly limits: MapSpec;
}

/** How often senders are told of a packet that ended here: a thousand a second, fifty at once. */
export const defaultLimits = { interval: 1_000_000n, burst: 50_000_000n } as const;

export interface DirectorSizes {
  readonly arenaBytes: number;
  /** Of the service index, for as long as this program runs. */
  readonly index: IndexShape;
  /** Counters of services and members. */
  readonly counters: number;
  /** One more than the highest CPU number that can be. */
  readonly cpus: number;
}

export function directorMaps({ arenaBytes, index, counters, cpus }: DirectorSizes): DirectorMaps {
  const count = directorReasons.length + counters;
  return {
    arena: declareArena("carom_arena", arenaBytes, indexLayout(index).size),
    index,
    counters: declareCounters("carom_counters", count, cpus),
    limits: globalData("carom_limits", Limits.size),
  };
}

/** The index, among all counters, of a service's or a member's as the desired state numbers them. */
export const trafficCounter = (index: number): number => directorReasons.length + index;
