/** What a forwarding needs of the services it is used for. */
import { defaultTunnels } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import { isWhole } from "../net/prefix.ts";
import { canonicalText, readPrefix } from "./addresses.ts";
import { portPlaces } from "./endpoint-rules.ts";
import type { Finding } from "./finding.ts";
import type { PlaceText } from "./places.ts";
import { places } from "./places.ts";
import { type RoutedBackend, routedBackends } from "./routed-backends.ts";
import { codePointsMax, type DirectorDraft } from "./schema.ts";

export function* forwardingRules(draft: DirectorDraft, placeText: PlaceText): Generator<Finding> {
  yield* protocolRules(draft);
  const backends = [...routedBackends(draft)];
  yield* dscpRules(
    draft,
    backends.filter(({ forwarding }) => forwarding === "dscp"),
    placeText,
  );
}

/** Only TCP and UDP have ports. */
function* protocolRules(draft: DirectorDraft): Generator<Finding> {
  for (const [path, { protocol, ports }] of places(draft.services, ["services"])) {
    if (protocol !== "any" || ports === undefined || ports === "all") continue;
    const message =
      "Protocol any has no ports to choose by; write ports: all, or protocol: tcp or udp";
    yield { path: [...path, "ports"], message };
  }
}

/** A code point names one VIP, among those that a backend serves, to a backend of the VIP's family. */
function* dscpRules(
  draft: DirectorDraft,
  backends: readonly RoutedBackend[],
  placeText: PlaceText,
): Generator<Finding> {
  if (backends.length === 0) return;
  const { fouPort, fouPortIpv6, guePort } = { ...defaultTunnels, ...draft.director?.tunnels };
  const tunnelPorts = [fouPort, fouPortIpv6, guePort].filter((port) => port !== undefined);
  const byPool = Map.groupBy(backends, ({ pool }) => pool);
  const known = new Map<string, Set<string>>();
  const full = new Set<string>();
  for (const [path, service] of places(draft.services, ["services"])) {
    const members = (service.pool === undefined ? undefined : byPool.get(service.pool)) ?? [];
    const [first] = members;
    if (first === undefined) continue;
    const at = `${first.name} at ${placeText(first.path)}`;
    if (service.protocol === "any") {
      const message = `Forwarding by dscp changes addresses, which carom knows to do for TCP and UDP; ${at} has it: write protocol: tcp or udp, or use gue or ipip there`;
      yield { path: [...path, "protocol"], message };
    }
    for (const [portPath, { first: low, last: high }] of portPlaces(service, [...path, "ports"])) {
      const tunnel = tunnelPorts.find((port) => low <= port && port <= high);
      if (service.protocol !== "udp" || tunnel === undefined) continue;
      const message = `UDP port ${tunnel} is that of a tunnel (director.tunnels), and ${at} is forwarded to by dscp: it could not tell them apart; give the tunnel another port, or use gue or ipip there`;
      yield { path: portPath, message };
    }
    for (const [vipPath, text] of places(service.vips, [...path, "vips"])) {
      const vip = readPrefix(text);
      if (!isWhole(vip)) {
        const message = `${text} is a prefix, and a code point names one address; ${at} is forwarded to by dscp: list the addresses, or use gue or ipip there`;
        yield { path: vipPath, message };
        continue;
      }
      const other = members.find(({ address }) => address.family !== vip.address.family);
      if (other !== undefined) {
        const { address, name, path: backendPath } = other;
        const message = `${canonicalText(text)} is IPv${vip.address.family}, and ${name} at ${placeText(backendPath)} is IPv${address.family}: dscp rewrites the address and cannot change its family; use gue or ipip there, or an IPv${vip.address.family} address of the backend in a pool of its own`;
        yield { path: vipPath, message };
      }
      for (const { address, name, path: backendPath } of members) {
        if (address.family !== vip.address.family) continue;
        const key = formatIp(address);
        const vips = known.get(key) ?? new Set();
        known.set(key, vips.add(canonicalText(text)));
        if (vips.size <= codePointsMax || full.has(key)) continue;
        full.add(key);
        const message = `One VIP too many for ${name} at ${placeText(backendPath)}: dscp has code points for ${codePointsMax}; give the backend a second address for more, or use gue or ipip there`;
        yield { path: vipPath, message };
      }
    }
  }
}
