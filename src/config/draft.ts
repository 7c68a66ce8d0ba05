/** Takes what is invalid out of a parsed file, so that rules can speak of the rest. */
import type { Finding, Path } from "./finding.ts";

/**
 * Sets everything a finding points at to `undefined`, in place: list items keep their places, keys
 * stay with nothing in them. What is left meets the schema, apart from what is missing.
 */
export function removeInvalid(root: unknown, findings: readonly Finding[]): unknown {
  for (const { path } of findings) {
    if (path.length === 0) return undefined;
    removeAt(root, path);
  }
  return root;
}

function removeAt(root: unknown, path: Path): void {
  let at = root;
  for (const step of path.slice(0, -1)) {
    if (!isContainer(at)) return;
    at = at[step];
  }
  const last = path.at(-1);
  if (isContainer(at) && last !== undefined && Object.hasOwn(at, last)) at[last] = undefined;
}

const isContainer = (value: unknown): value is Record<string | number, unknown> =>
  typeof value === "object" && value !== null;
