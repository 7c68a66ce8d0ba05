/**
 * A packet to a VIP, protocol and port belongs to one service: the most specific one. A single port
 * wins over a range, a range over all ports, so only likes can be in each other's way.
 */
import type { PortRange } from "../model/model.ts";
import { canonicalText } from "./addresses.ts";
import type { Finding, Path } from "./finding.ts";
import { quote } from "./finding.ts";
import type { Placed, PlaceText } from "./places.ts";
import { places } from "./places.ts";
import { portRange, portRangeText } from "../model/port-range.ts";
import type { DirectorDraft } from "./schema.ts";

/** VIPs times ports and ranges, over all services: more never fit (`size-rules.ts`). */
const endpointsMax = 1_048_576;

interface Owner {
  readonly service: number;
  readonly name: string;
  readonly vip: Path;
}

type ServiceDraft = NonNullable<NonNullable<DirectorDraft["services"]>[number]>;

const ALL: PortRange = { first: 0, last: 65_535 };

/** The ports of a service that could be read; `all` is every one of them. */
export const portPlaces = (
  { ports }: Pick<ServiceDraft, "ports">,
  path: Path,
): Placed<PortRange>[] =>
  ports === "all"
    ? [[path, ALL]]
    : places(ports, path).map(([place, item]) => [place, portRange(item)]);

export function* endpointRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  const claims = new Map<string, Claims>();
  let endpoints = 0;
  for (const [path, service] of places(draft.services, ["services"])) {
    const ports = portPlaces(service, [...path, "ports"]);
    yield* repeatedPorts(ports, placeText);
    const vips = places(service.vips, [...path, "vips"]);
    endpoints += vips.length * ports.length;
    // Said by another rule; here it is an end for files that aliases multiply.
    if (endpoints > endpointsMax) return;
    // Without it, whom a port belongs to is not known.
    if (service.protocol === undefined) continue;
    const name = service.name === undefined ? "another service" : `service ${quote(service.name)}`;
    for (const [vip, text] of vips) {
      const what = `${canonicalText(text)} ${service.protocol}`;
      let taken = claims.get(what);
      if (taken === undefined) claims.set(what, (taken = new Claims()));
      const owner: Owner = { service: Number(path[1]), name, vip };
      const ranges = ports.map(([, range]) => range);
      yield* claim(taken, ranges, owner, what, placeText);
    }
  }
}

/** Gives the free ports to `owner`; one finding for each service that has some already. */
function* claim(
  taken: Claims,
  ranges: readonly PortRange[],
  owner: Owner,
  what: string,
  placeText: PlaceText,
): Generator<Finding> {
  const conflicts = new Map<Owner, Set<string>>();
  for (const range of ranges) {
    const other = taken.take(range, owner);
    // The same VIP or port twice in one service is reported as that.
    if (other === null || other.owner.service === owner.service) continue;
    const shared = conflicts.get(other.owner) ?? new Set();
    conflicts.set(other.owner, shared.add(conflictText(range, other.range)));
  }
  for (const [other, shared] of conflicts) {
    const at = `${other.name} at ${placeText(other.vip)}`;
    const hint = [...shared].some((text) => text.includes(" of "))
      ? "; ranges must not overlap: divide them, or name single ports, which win over a range"
      : "";
    yield { path: owner.vip, message: `${what} ${portsText([...shared])} taken by ${at}${hint}` };
  }
}

/** The port, or which part of a range. */
function conflictText(range: PortRange, other: PortRange): string {
  if (isAll(range)) return "all";
  const shared = {
    first: Math.max(range.first, other.first),
    last: Math.min(range.last, other.last),
  };
  if (range.first === range.last) return portRangeText(shared);
  return `${portRangeText(shared)} of ${portRangeText(range)}`;
}

const isAll = ({ first, last }: PortRange): boolean => first === ALL.first && last === ALL.last;

/** Who has which ports of one VIP and protocol. */
class Claims {
  readonly #singles = new Map<number, Owner>();
  /** By their first port; no two overlap. */
  readonly #ranges: { readonly range: PortRange; readonly owner: Owner }[] = [];
  #all: Owner | null = null;

  /** Takes what is free, else returns who has it. */
  take(
    range: PortRange,
    owner: Owner,
  ): { readonly range: PortRange; readonly owner: Owner } | null {
    if (isAll(range)) {
      if (this.#all !== null) return { range, owner: this.#all };
      this.#all = owner;
      return null;
    }
    if (range.first === range.last) {
      const other = this.#singles.get(range.first);
      if (other !== undefined) return { range, owner: other };
      this.#singles.set(range.first, owner);
      return null;
    }
    const at = this.#firstEndingFrom(range.first);
    const next = this.#ranges[at];
    if (next !== undefined && next.range.first <= range.last) return next;
    this.#ranges.splice(at, 0, { range, owner });
    return null;
  }

  /** Index of the first range that ends at `port` or later. */
  #firstEndingFrom(port: number): number {
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ranges[middle]?.range.last ?? 0) < port) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function portsText(ports: readonly string[]): string {
  const shown = ports.slice(0, 4).join(", ");
  const more = ports.length > 4 ? ` and ${ports.length - 4} more` : "";
  if (ports.length === 1 && shown === "all") return "all ports are";
  return ports.length === 1 && /^\d+$/.test(shown)
    ? `port ${shown} is`
    : `ports ${shown}${more} are`;
}

/** Ports that are in a service twice, by themselves or in a range. */
function* repeatedPorts(
  ports: readonly Placed<PortRange>[],
  placeText: PlaceText,
): Generator<Finding> {
  const singles = new Map<number, Path>();
  const ordered = ports.toSorted(([, a], [, b]) => a.first - b.first || b.last - a.last);
  let widest: Placed<PortRange> | null = null;
  const findings: Finding[] = [];
  for (const [path, range] of ports) {
    if (range.first !== range.last) continue;
    const before = singles.get(range.first);
    if (before === undefined) singles.set(range.first, path);
    else {
      const message = `Duplicate port ${range.first}; first at ${placeText(before)}`;
      findings.push({ path, message });
    }
  }
  for (const [path, range] of ordered) {
    const isSingle = range.first === range.last;
    if (widest !== null && range.first <= widest[1].last) {
      const at = `${portRangeText(widest[1])} at ${placeText(widest[0])}`;
      const message = isSingle
        ? `Port ${range.first} is in ${at} too; leave it out`
        : `Ports ${portRangeText(range)} overlap ${at}; make them one range, or divide them`;
      findings.push({ path, message });
    }
    if (!isSingle && (widest === null || range.last > widest[1].last)) widest = [path, range];
  }
  yield* findings;
}
