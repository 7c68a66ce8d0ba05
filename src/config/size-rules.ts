/**
 * All tables of a director lie in one map value, whose size is bounded: pools and services that do
 * not fit together are refused here, at the first one too many.
 */
import { ARENA_SIZE_MAX, arenaBytesNeeded, type TableCounts } from "../model/arena-size.ts";
import { ScheduleError } from "../schedule/schedule-error.ts";
import { tableSize } from "../schedule/table-size.ts";
import { type SearchedService, searchSizeMost } from "../model/search-size.ts";
import { formatPrefix, type IpPrefix, isWhole } from "../net/prefix.ts";
import { readPrefix } from "./addresses.ts";
import { portPlaces } from "./endpoint-rules.ts";
import type { Finding, Path } from "./finding.ts";
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
  const services = [...countedServices(draft)];
  const upTo = (end: number): TableCounts => ({
    ...counts,
    ...searchCounts(services.slice(0, end)),
  });
  if (!isTooMuch(upTo(services.length))) return;
  // The first with which it is too much: the counts only grow.
  let [low, high] = [1, services.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isTooMuch(upTo(middle))) high = middle;
    else low = middle + 1;
  }
  const endpoints = services.slice(0, low).reduce((sum, service) => sum + service.endpoints, 0);
  const what = `${endpoints} VIPs times ports and ${poolsText(counts)}`;
  yield { path: services[low - 1]?.path ?? [], message: sentence(what, upTo(low), "services") };
}

/** What a service takes, as far as that adds up. */
interface CountedService {
  readonly path: Path;
  /** VIPs times ports and ranges. */
  readonly endpoints: number;
  /** VIPs that no service before has. */
  readonly newVips: readonly IpPrefix[];
  /** VIPs times ports that the index finds by their whole key. */
  readonly exact: Readonly<Record<4 | 6, number>>;
  readonly searched: readonly SearchedService[];
  /** Code points of dscp: one for each VIP and member. */
  readonly codePointBytes: number;
}

function* countedServices(draft: DirectorDraft): Generator<CountedService> {
  const readdressed = new Map(
    places(draft.pools, ["pools"]).map(([, { name, forwarding, backends = [] }]) => {
      const isUsed =
        forwarding === "dscp" || backends.some((backend) => backend?.forwarding === "dscp");
      return [name, isUsed ? backends.length + LINE : 0];
    }),
  );
  const vips = new Set<string>();
  for (const [path, service] of places(draft.services, ["services"])) {
    const ports = portPlaces(service, path).map(([, range]) => range);
    const singles = new Set(ports.flatMap(({ first, last }) => (first === last ? [first] : [])));
    const ranges = ports.filter(({ first, last }) => first !== last);
    const exact = { 4: 0, 6: 0 };
    const newVips: IpPrefix[] = [];
    const searched: SearchedService[] = [];
    const own = places(service.vips, [...path, "vips"]).map(([, text]) => readPrefix(text));
    for (const vip of own) {
      const isExact = isWhole(vip) && service.protocol !== "any";
      if (isExact) exact[vip.address.family] += singles.size;
      if (!isExact) searched.push({ vip, ports });
      else if (ranges.length > 0) searched.push({ vip, ports: ranges });
      const key = formatPrefix(vip);
      if (!isWhole(vip) || vips.has(key)) continue;
      vips.add(key);
      newVips.push(vip);
    }
    const perVip = readdressed.get(service.pool) ?? 0;
    const endpoints = own.length * ports.length;
    yield { path, endpoints, newVips, exact, searched, codePointBytes: own.length * perVip };
  }
}

function searchCounts(
  services: readonly CountedService[],
): Pick<TableCounts, "ipv4Keys" | "ipv6Keys" | "searchBytes"> {
  const search = searchSizeMost(services.flatMap(({ searched }) => searched));
  const sum = (numberOf: (service: CountedService) => number): number =>
    services.reduce((total, service) => total + numberOf(service), 0);
  // A VIP alone has a place in the index too, for packets whose ports cannot be read.
  const keys = (family: 4 | 6): number =>
    sum(({ exact, newVips }) => {
      return exact[family] + newVips.filter(({ address }) => address.family === family).length;
    });
  return {
    ipv4Keys: keys(4) + search.ipv4Prefixes,
    ipv6Keys: keys(6) + search.ipv6Prefixes,
    searchBytes: search.bytes + sum(({ codePointBytes }) => codePointBytes),
  };
}

/** Regions of an arena begin on a line. */
const LINE = 64;

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
