/**
 * What the design has and this version has not: refused in so many words, since a key that is
 * accepted and ignored is the worst answer, and "unknown key" the second worst. An entry goes when
 * the schema gets the key.
 */

/** By the place in the schema, list items without index: what each later key is about. */
const keys: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "": {
    agents: "agents that dial the directors",
    fellows: "fellow directors",
    announce: "announcement of VIPs",
    bgp: "BGP",
  },
  "pools[]": { checks: "health checks", scheduler: "choice of scheduler" },
  "services[]": { need: "announcement by healthy backends" },
  agent: { keyFile: "agents that dial the directors" },
};

/** What the key is about, if a later version has it at this place. */
export function laterKey(place: string, key: string): string | undefined {
  const here = Object.hasOwn(keys, place) ? keys[place] : undefined;
  return here !== undefined && Object.hasOwn(here, key) ? here[key] : undefined;
}

/** What the value asks for that a later version has at this place, and what to do instead. */
export function laterValue(place: string, value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  if (place.endsWith(".forwarding") && value === "nat") return "forwarding by nat; use gue or ipip";
  return undefined;
}
