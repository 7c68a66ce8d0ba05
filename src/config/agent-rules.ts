/** What an agent's file must be beyond its shape; see director-rules.ts. */
import { ip } from "../net/address.ts";
import { formatPrefix, isWhole, prefixContains, sameIpPrefix } from "../net/prefix.ts";
import { canonical, canonicalText, reachable, reachablePrefix, readPrefix } from "./addresses.ts";
import type { Finding } from "./finding.ts";
import type { Placed, PlaceText } from "./places.ts";
import { places, repeated } from "./places.ts";
import type { AgentDraft } from "./schema.ts";
import { tunnelPortRules } from "./tunnel-rules.ts";

export function* agentRules(draft: AgentDraft, placeText: PlaceText): Generator<Finding> {
  const interfaces = places(draft.agent?.interfaces, ["agent", "interfaces"]);
  const vips = places(draft.agent?.vips, ["agent", "vips"]);
  const directors = places(draft.agent?.directors, ["agent", "directors"]);
  yield* repeated(interfaces, "interface", placeText);
  for (const vip of vips) yield* reachablePrefix(vip, "a VIP");
  yield* repeated(vips.map(canonical), "VIP", placeText);
  for (const director of directors) yield* reachablePrefix(director, "a director");
  yield* repeated(directors.map(canonical), "director", placeText);

  const prefixes = vips.map(([path, text]) => ({ path, prefix: readPrefix(text) }));
  const vipOf = (text: string): (typeof prefixes)[number] | undefined =>
    prefixes.find(({ prefix }) => prefixContains(prefix, ip(text)));
  for (const [path, text] of directors) {
    const director = readPrefix(text);
    const vip = prefixes.find(
      ({ prefix }) =>
        prefixContains(prefix, director.address) || prefixContains(director, prefix.address),
    );
    if (vip === undefined) continue;
    const isSame = sameIpPrefix(vip.prefix, director);
    const what = isSame ? "is a VIP" : `is a VIP by ${formatPrefix(vip.prefix)}`;
    const message = isWhole(director)
      ? `${canonicalText(text)} ${what}, at ${placeText(vip.path)}; a director sends from an address of its own`
      : `${canonicalText(text)} shares addresses with VIP ${formatPrefix(vip.prefix)} at ${placeText(vip.path)}; directors send from addresses of their own`;
    yield { path, message };
  }

  yield* tunnelPortRules(draft.agent?.tunnels, ["agent", "tunnels"]);
  const addresses: Placed<string>[] = [];
  for (const [path, { address, vips: named }] of places(draft.agent?.dscp, ["agent", "dscp"])) {
    const namedVips = places(named, [...path, "vips"]);
    yield* repeated(namedVips.map(canonical), "VIP", placeText);
    if (address !== undefined) {
      const addressPath = [...path, "address"];
      addresses.push([addressPath, address]);
      yield* reachable([addressPath, address], "a backend");
      const vip = vipOf(address);
      if (vip !== undefined) {
        const message = `${canonicalText(address)} is a VIP, at ${placeText(vip.path)}; directors send to an address of the backend's own`;
        yield { path: addressPath, message };
      }
    }
    for (const [vipPath, text] of namedVips) {
      if (address !== undefined && ip(text).family !== ip(address).family) {
        const message = `${canonicalText(text)} is of another family than ${canonicalText(address)}; dscp cannot change it, list it under an address of its family`;
        yield { path: vipPath, message };
      }
      // One that could not be read may be the one that is meant.
      if (vipOf(text) !== undefined || vips.length < (draft.agent?.vips?.length ?? 0)) continue;
      const message = `${canonicalText(text)} is not among vips; add it there, a code point can only name what this backend serves`;
      yield { path: vipPath, message, byAbsence: true };
    }
  }
  yield* repeated(addresses.map(canonical), "address", placeText);
}
