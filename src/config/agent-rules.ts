/** What an agent's file must be beyond its shape; see director-rules.ts. */
import { canonical, canonicalText, reachable } from "./addresses.ts";
import type { Finding } from "./finding.ts";
import type { PlaceText } from "./places.ts";
import { places, repeated } from "./places.ts";
import type { AgentDraft } from "./schema.ts";

export function* agentRules(draft: AgentDraft, placeText: PlaceText): Generator<Finding> {
  const interfaces = places(draft.agent?.interfaces, ["agent", "interfaces"]);
  const vips = places(draft.agent?.vips, ["agent", "vips"]);
  const directors = places(draft.agent?.directors, ["agent", "directors"]);
  yield* repeated(interfaces, "interface", placeText);
  for (const vip of vips) yield* reachable(vip, "a VIP");
  yield* repeated(vips.map(canonical), "VIP", placeText);
  for (const director of directors) yield* reachable(director, "a director");
  yield* repeated(directors.map(canonical), "director", placeText);

  const vipPaths = new Map(vips.map(([path, text]) => [canonicalText(text), path]));
  for (const [path, text] of directors) {
    const key = canonicalText(text);
    const vip = vipPaths.get(key);
    if (vip === undefined) continue;
    const message = `${key} is a VIP, at ${placeText(vip)}; a director sends from an address of its own`;
    yield { path, message };
  }
}
