/** Where outer headers come from, and the ports that tell tunnels in UDP apart. */
import { defaultTunnels } from "../model/model.ts";
import { prefixContains } from "../net/prefix.ts";
import { readPrefix } from "./addresses.ts";
import type { Finding, Path } from "./finding.ts";
import type { PlaceText } from "./places.ts";
import { places } from "./places.ts";
import { routedBackends } from "./routed-backends.ts";
import type { DirectorDraft } from "./schema.ts";

const encapsulating = new Set(["ipip", "gre", "fou", "gue"]);
/** The host bits are taken from the flow hash, which has 32. */
const hostBitsMax = 32;

export function* outerSourceRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  const backends = [...routedBackends(draft)];
  const first = new Map<number, Path>();
  for (const [path, text] of places(draft.director?.outerSources, ["director", "outerSources"])) {
    const prefix = readPrefix(text);
    const { family } = prefix.address;
    const bits = (family === 4 ? 32 : 128) - prefix.length;
    if (bits > hostBitsMax) {
      const message = `${text} leaves ${bits} bits to the flow hash, which has ${hostBitsMax}; use a prefix of /96 or longer`;
      yield { path, message };
    }
    const before = first.get(family);
    if (before === undefined) first.set(family, path);
    else {
      const message = `A second prefix of IPv${family}; first at ${placeText(before)}, one is used`;
      yield { path, message };
    }
    for (const backend of backends) {
      if (!prefixContains(prefix, backend.address)) continue;
      const message = `${text} has the address of ${backend.name} at ${placeText(backend.path)}: packets would come from where they go to; use a prefix that is only the director's`;
      yield { path, message };
      break;
    }
    const used = backends.some(
      ({ forwarding, address }) => encapsulating.has(forwarding) && address.family === family,
    );
    if (!used && backends.length > 0) {
      const message = `No backend is reached by a tunnel over IPv${family}, so nothing comes from ${text}; remove it`;
      yield { path, message, byAbsence: true };
    }
  }
}

const portKeys = ["fouPort", "fouPortIpv6", "guePort"] as const;

/** One destination port says one thing. */
export function* tunnelPortRules(
  tunnels: { readonly [Key in (typeof portKeys)[number]]?: number | undefined } | undefined,
  path: Path,
): Generator<Finding> {
  if (tunnels === undefined) return;
  const first = new Map<number, string>();
  for (const key of portKeys) {
    const port = key in tunnels ? tunnels[key] : defaultTunnels[key];
    if (port === undefined) continue;
    const before = first.get(port);
    first.set(port, before ?? key);
    if (before === undefined) continue;
    const at = key in tunnels ? key : before;
    const message = `Port ${port} is ${before === at ? key : before} already; a backend tells tunnels apart by their ports`;
    yield { path: [...path, at], message };
  }
}
