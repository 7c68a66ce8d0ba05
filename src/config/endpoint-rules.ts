/** A packet to a VIP, protocol and port belongs to one service. */
import { canonicalText } from "./addresses.ts";
import type { Finding, Path } from "./finding.ts";
import { quote } from "./finding.ts";
import type { PlaceText } from "./places.ts";
import { places } from "./places.ts";
import type { DirectorDraft } from "./schema.ts";

/** VIPs times ports, over all services: more never fit (`size-rules.ts`). */
const endpointsMax = 1_048_576;

interface Owner {
  readonly service: number;
  readonly name: string;
  readonly vip: Path;
}

export function* endpointRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  const owners = new Map<string, Map<number, Owner>>();
  let endpoints = 0;
  for (const [path, service] of places(draft.services, ["services"])) {
    const ports = new Set(places(service.ports, path).map(([, port]) => port));
    yield* repeatedPorts(service.ports, [...path, "ports"], placeText);
    const vips = places(service.vips, [...path, "vips"]);
    endpoints += vips.length * ports.size;
    // Said by another rule; here it is an end for files that aliases multiply.
    if (endpoints > endpointsMax) return;
    // Without it, whom a port belongs to is not known.
    if (service.protocol === undefined) continue;
    const name = service.name === undefined ? "another service" : `service ${quote(service.name)}`;
    for (const [vip, text] of vips) {
      const key = `${canonicalText(text)} ${service.protocol}`;
      let taken = owners.get(key);
      if (taken === undefined) owners.set(key, (taken = new Map()));
      const owner: Owner = { service: Number(path[1]), name, vip };
      yield* claim(taken, ports, owner, `${canonicalText(text)} ${service.protocol}`, placeText);
    }
  }
}

/** Gives the free ports to `owner`; one finding for each service that has some already. */
function* claim(
  taken: Map<number, Owner>,
  ports: ReadonlySet<number>,
  owner: Owner,
  what: string,
  placeText: PlaceText,
): Generator<Finding> {
  const conflicts = new Map<Owner, number[]>();
  for (const port of ports) {
    const other = taken.get(port);
    if (other === undefined) taken.set(port, owner);
    // The same VIP twice in one service is reported as that.
    else if (other.service !== owner.service) {
      const shared = conflicts.get(other);
      if (shared === undefined) conflicts.set(other, [port]);
      else shared.push(port);
    }
  }
  for (const [other, shared] of conflicts) {
    const at = `${other.name} at ${placeText(other.vip)}`;
    yield { path: owner.vip, message: `${what} ${portsText(shared)} taken by ${at}` };
  }
}

function portsText(ports: readonly number[]): string {
  const shown = ports.slice(0, 4).join(", ");
  const more = ports.length > 4 ? ` and ${ports.length - 4} more` : "";
  return ports.length === 1 ? `port ${shown} is` : `ports ${shown}${more} are`;
}

function* repeatedPorts(
  ports: readonly (number | undefined)[] | undefined,
  path: Path,
  placeText: PlaceText,
): Generator<Finding> {
  const first = new Map<number, Path>();
  for (const [portPath, port] of places(ports, path)) {
    const before = first.get(port);
    if (before === undefined) first.set(port, portPath);
    else {
      const message = `Duplicate port ${port}; first at ${placeText(before)}`;
      yield { path: portPath, message };
    }
  }
}
