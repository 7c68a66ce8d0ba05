/** What an agent's file must be beyond its shape; see director-rules.ts. */
import { ip } from "../net/address.ts";
import { formatPrefix, isWhole, prefixContains } from "../net/prefix.ts";
import { canonical, canonicalText, reachable, reachablePrefix, readPrefix } from "./addresses.ts";
import type { Finding } from "./finding.ts";
import type { PlaceText } from "./places.ts";
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
  for (const director of directors) yield* reachable(director, "a director");
  yield* repeated(directors.map(canonical), "director", placeText);

  const prefixes = vips.map(([path, text]) => ({ path, prefix: readPrefix(text) }));
  const vipOf = (text: string): (typeof prefixes)[number] | undefined =>
    prefixes.find(({ prefix }) => prefixContains(prefix, ip(text)));
  for (const [path, text] of directors) {
    const vip = vipOf(text);
    if (vip === undefined) continue;
    const what = isWhole(vip.prefix) ? "is a VIP" : `is a VIP by ${formatPrefix(vip.prefix)}`;
    const message = `${canonicalText(text)} ${what}, at ${placeText(vip.path)}; a director sends from an address of its own`;
    yield { path, message };
  }

  yield* tunnelPortRules(draft.agent?.tunnels, ["agent", "tunnels"]);
  const dscpVips = places(draft.agent?.dscpVips, ["agent", "dscpVips"]);
  yield* repeated(dscpVips.map(canonical), "VIP", placeText);
  // One that could not be read may be the one that is meant.
  if (vips.length < (draft.agent?.vips?.length ?? 0)) return;
  for (const [path, text] of dscpVips) {
    if (vipOf(text) !== undefined) continue;
    const message = `${canonicalText(text)} is not among vips; add it there, a code point can only name what this backend serves`;
    yield { path, message, byAbsence: true };
  }
}
