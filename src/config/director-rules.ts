/**
 * What a director's file must be beyond its shape. Every rule reads a draft, so that it speaks of
 * all parts that could be read, and says nothing that hangs on a part that could not.
 */
import { ip } from "../net/address.ts";
import { formatPrefix, type IpPrefix, isWhole, prefixContains } from "../net/prefix.ts";
import { canonical, canonicalText, reachable, reachablePrefix, readPrefix } from "./addresses.ts";
import { endpointRules } from "./endpoint-rules.ts";
import { forwardingRules } from "./forwarding-rules.ts";
import type { Finding, Path } from "./finding.ts";
import { quote } from "./finding.ts";
import type { Placed, PlaceText } from "./places.ts";
import { names, places, repeated } from "./places.ts";
import type { DirectorDraft } from "./schema.ts";
import { sizeRules } from "./size-rules.ts";
import { closest } from "./suggest.ts";
import { outerSourceRules, tunnelPortRules } from "./tunnel-rules.ts";
import { weightRules } from "./weight-rules.ts";

export function* directorRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  const interfaces = places(draft.director?.interfaces, ["director", "interfaces"]);
  yield* repeated(interfaces, "interface", placeText);
  yield* nameRules(draft, placeText);
  yield* backendAddressRules(draft, yield* vipRules(draft, placeText), placeText);
  yield* endpointRules(draft, placeText);
  yield* forwardingRules(draft, placeText);
  yield* tunnelPortRules(draft.director?.tunnels, ["director", "tunnels"]);
  yield* outerSourceRules(draft, placeText);
  yield* weightRules(draft);
  yield* sizeRules(draft);
  yield* poolReferenceRules(draft);
}

function* nameRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  yield* repeated(names(draft.pools, ["pools"]), "pool name", placeText);
  yield* repeated(names(draft.services, ["services"]), "service name", placeText);
  for (const [path, pool] of places(draft.pools, ["pools"])) {
    const backends = names(pool.backends, [...path, "backends"]);
    yield* repeated(backends, "backend name", placeText);
  }
}

interface PlacedVip {
  readonly prefix: IpPrefix;
  readonly path: Path;
}

/** Returns every VIP with the first place that has it. */
function* vipRules(
  draft: DirectorDraft,
  placeText: PlaceText,
): Generator<Finding, ReadonlyMap<string, PlacedVip>> {
  const first = new Map<string, PlacedVip>();
  for (const [path, service] of places(draft.services, ["services"])) {
    const vips = places(service.vips, [...path, "vips"]);
    for (const vip of vips) {
      const findings = [...reachablePrefix(vip, "a VIP")];
      yield* findings;
      const key = canonicalText(vip[1]);
      const prefix = readPrefix(vip[1]);
      // A prefix that cannot be meant is not held against what lies in it.
      if (first.has(key) || (findings.length > 0 && !isWhole(prefix))) continue;
      first.set(key, { prefix, path: vip[0] });
    }
    yield* repeated(vips.map(canonical), "VIP", placeText);
  }
  return first;
}

function* backendAddressRules(
  draft: DirectorDraft,
  vips: ReadonlyMap<string, PlacedVip>,
  placeText: PlaceText,
): Generator<Finding> {
  const prefixes = [...vips.values()].filter(({ prefix }) => !isWhole(prefix));
  for (const [path, pool] of places(draft.pools, ["pools"])) {
    const addresses: Placed<string>[] = [];
    for (const [backendPath, backend] of places(pool.backends, [...path, "backends"])) {
      if (backend.address === undefined) continue;
      const addressPath = [...backendPath, "address"];
      addresses.push([addressPath, backend.address]);
      yield* reachable([addressPath, backend.address], "a backend");
      const key = canonicalText(backend.address);
      const address = ip(backend.address);
      const vip = vips.get(key) ?? prefixes.find(({ prefix }) => prefixContains(prefix, address));
      if (vip === undefined) continue;
      const what = isWhole(vip.prefix) ? "is a VIP" : `is a VIP by ${formatPrefix(vip.prefix)}`;
      const message = `${key} ${what}, at ${placeText(vip.path)}: its packets would come back to the director; a backend needs an address of its own`;
      yield { path: addressPath, message };
    }
    yield* repeated(addresses.map(canonical), "backend address", placeText);
  }
}

/** Suggestions are a courtesy, searched for the first mistakes only. */
const suggestionsMax = 64;

/** A service names a pool that exists, and a pool is named by a service. */
function* poolReferenceRules(draft: DirectorDraft): Generator<Finding> {
  const services = places(draft.services, ["services"]);
  const known = poolNames(draft);
  const used = new Set<string>();
  let suggestions = 0;
  for (const [path, { pool }] of services) {
    if (pool === undefined) continue;
    used.add(pool);
    // A pool whose name could not be read may be the one that is meant.
    if (known === undefined || known.has(pool)) continue;
    suggestions++;
    const meant = suggestions > suggestionsMax ? undefined : closest(pool, [...known]);
    const hint = meant === undefined ? "" : `; did you mean ${quote(meant)}?`;
    const message = `No pool is named ${quote(pool)}${hint}`;
    yield { path: [...path, "pool"], message, byAbsence: true };
    // One mistake, one finding: the pool that is meant is in use.
    if (meant !== undefined) used.add(meant);
  }
  const allRead = !unread(draft, "services") && services.length === (draft.services ?? []).length;
  if (!allRead || services.some(([, { pool }]) => pool === undefined)) return;
  for (const [path, name] of names(draft.pools, ["pools"])) {
    if (used.has(name)) continue;
    const message = `No service uses pool ${quote(name)}; name it in a service or remove it`;
    yield { path, message, byAbsence: true };
  }
}

/** `undefined` when the name of some pool could not be read. */
function poolNames(draft: DirectorDraft): ReadonlySet<string> | undefined {
  const found = names(draft.pools, ["pools"]);
  if (unread(draft, "pools") || found.length !== (draft.pools ?? []).length) return undefined;
  return new Set(found.map(([, name]) => name));
}

/** Whether the key is in the file and its value was not usable. */
const unread = (draft: DirectorDraft, key: keyof DirectorDraft): boolean =>
  key in draft && draft[key] === undefined;
