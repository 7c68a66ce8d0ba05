/** The director's maps. Their sizes follow the configuration; everything else about them is fixed. */
import type { MapSpec } from "../../bpf/image.ts";
import { perCpuArray } from "../../bpf/maps.ts";
import { declareArena } from "../arena.ts";
import { Counter } from "../layout.ts";
import { directorReasons } from "../reasons.ts";

export interface DirectorMaps {
  /** `layout.ts` says what lies in it. Written by the daemon through memory, read by the program. */
  readonly arena: MapSpec;
  /** By index in `directorReasons`. */
  readonly reasons: MapSpec;
  /** By `ServiceSlot.counter`. */
  readonly services: MapSpec;
  /** By `ServiceSlot.memberCounters` plus the member's index in its pool. */
  readonly members: MapSpec;
}

export function directorMaps(sizes: {
  readonly arenaBytes: number;
  readonly services: number;
  readonly members: number;
}): DirectorMaps {
  return {
    arena: declareArena("carom_arena", sizes.arenaBytes),
    reasons: perCpuArray("carom_reasons", Counter, directorReasons.length),
    services: perCpuArray("carom_services", Counter, Math.max(sizes.services, 1)),
    members: perCpuArray("carom_members", Counter, Math.max(sizes.members, 1)),
  };
}
