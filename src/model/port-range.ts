/** Ports as a file writes them: `443`, or `8000-8999`. */
import type { PortRange } from "./model.ts";

const PORT_MAX = 65_535;

/** Parses "8000-8999", whose first port is below its last; `undefined` when it is none. */
export function parsePortRange(text: string): PortRange | undefined {
  const [, first, last] = /^([1-9]\d{0,4})\s*-\s*([1-9]\d{0,4})$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  return range.first < range.last && range.last <= PORT_MAX ? range : undefined;
}

/** What the schema accepted as a port or a range. */
export function portRange(item: number | string): PortRange {
  if (typeof item === "number") return { first: item, last: item };
  const range = parsePortRange(item);
  if (range === undefined) throw new RangeError(`Not a range of ports: ${item}`);
  return range;
}

/** As a file writes it. */
export const portRangeText = ({ first, last }: PortRange): string =>
  first === last ? `${first}` : `${first}-${last}`;
