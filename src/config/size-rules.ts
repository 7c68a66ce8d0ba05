/**
 * All tables of a director lie in one map value, whose size is bounded: pools and services that do
 * not fit together are refused here, at the first one too many.
 */
import { ARENA_SIZE_MAX, arenaBytesNeeded, type TableCounts } from "../model/arena-size.ts";
import { ScheduleError } from "../schedule/schedule-error.ts";
import { tableSize } from "../schedule/table-size.ts";
import { canonicalText } from "./addresses.ts";
import type { Finding } from "./finding.ts";
import { places } from "./places.ts";
import type { DirectorDraft } from "./schema.ts";
import { membersOf } from "./weight-rules.ts";

type Counts = { -readonly [Key in keyof TableCounts]: TableCounts[Key] };

/** Counts what could be read: the rest makes it no less. */
export function* sizeRules(draft: DirectorDraft): Generator<Finding> {
  const counts: Counts = {
    pools: 0,
    buckets: 0,
    bucketsOfLargest: 0,
    members: 0,
    ipv4Keys: 0,
    ipv6Keys: 0,
    searchBytes: 0,
  };
  for (const [path, { backends = [] }] of places(draft.pools, ["pools"])) {
    const buckets = bucketsOf(membersOf(backends));
    counts.pools += 1;
    counts.members += backends.length;
    counts.buckets += buckets;
    counts.bucketsOfLargest = Math.max(counts.bucketsOfLargest, buckets);
    if (isTooMuch(counts)) {
      const what = `${poolsText(counts)} and ${counts.buckets} buckets`;
      yield { path, message: sentence(what, counts, "pools") };
      return;
    }
  }
  const vips = new Set<string>();
  let endpoints = 0;
  for (const [path, service] of places(draft.services, ["services"])) {
    const ports = new Set(places(service.ports, path).map(([, port]) => port)).size;
    for (const [, text] of places(service.vips, [...path, "vips"])) {
      const vip = canonicalText(text);
      // A VIP alone has a place in the index too, for packets whose ports cannot be read.
      const keys = ports + (vips.has(vip) ? 0 : 1);
      vips.add(vip);
      endpoints += ports;
      if (vip.includes(":")) counts.ipv6Keys += keys;
      else counts.ipv4Keys += keys;
    }
    if (isTooMuch(counts)) {
      const what = `${endpoints} VIPs times ports and ${poolsText(counts)}`;
      yield { path, message: sentence(what, counts, "services") };
      return;
    }
  }
}

const isTooMuch = (counts: TableCounts): boolean => arenaBytesNeeded(counts) > ARENA_SIZE_MAX;

const poolsText = ({ pools, members }: TableCounts): string =>
  `${pools} ${pools === 1 ? "pool" : "pools"} with ${members} ${members === 1 ? "backend" : "backends"}`;

const sentence = (what: string, counts: TableCounts, which: string): string => {
  const needed = Math.ceil(arenaBytesNeeded(counts) / 2 ** 20);
  return `Too much for one director: up to here ${what} need ${needed} MiB of tables, at most ${ARENA_SIZE_MAX / 2 ** 20}; divide the ${which} between several instances`;
};

/** Buckets of a pool's table; 0 when that is not known, which has findings of its own. */
function bucketsOf(members: ReturnType<typeof membersOf>): number {
  if (members === undefined) return 0;
  try {
    return tableSize(members);
  } catch (error) {
    if (error instanceof ScheduleError) return 0;
    throw error;
  }
}
