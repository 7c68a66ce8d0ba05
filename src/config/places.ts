/** Items of a draft together with where they stand. */
import type { Finding, Path } from "./finding.ts";
import { quote } from "./finding.ts";

export type Placed<Item> = readonly [path: Path, item: Item];
/** `line:column` of a value, for messages that name a second place. */
export type PlaceText = (path: Path) => string;

/** The items of a list that could be read. */
export function places<Item>(
  items: readonly (Item | undefined)[] | undefined,
  path: Path,
): Placed<Item>[] {
  const found: Placed<Item>[] = [];
  for (const [index, item] of (items ?? []).entries()) {
    if (item !== undefined) found.push([[...path, index], item]);
  }
  return found;
}

/** The names of the items that have a readable one. */
export function names(
  items: readonly ({ readonly name?: string | undefined } | undefined)[] | undefined,
  path: Path,
): Placed<string>[] {
  return places(items, path).flatMap(([itemPath, { name }]) =>
    name === undefined ? [] : [[[...itemPath, "name"], name] as const],
  );
}

/** One finding for each item that an earlier one equals, naming the first. */
export function* repeated(
  items: readonly Placed<string>[],
  what: string,
  placeText: PlaceText,
): Generator<Finding> {
  const first = new Map<string, Path>();
  for (const [path, item] of items) {
    const before = first.get(item);
    if (before === undefined) first.set(item, path);
    else yield { path, message: `Duplicate ${what} ${quote(item)}; first at ${placeText(before)}` };
  }
}
