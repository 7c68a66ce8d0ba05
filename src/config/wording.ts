/** Schema issues in our words: where, what is allowed, what was found, what was probably meant. */
import * as z from "zod";
import type { Finding, Path } from "./finding.ts";
import { formatPath, quote } from "./finding.ts";
import { laterKey, laterValue } from "./not-yet.ts";
import { closest } from "./suggest.ts";

/** The findings for everything in `value` that `schema` refuses. */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  schema: z.core.$ZodType,
  value: unknown,
): Finding[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map((step) => (typeof step === "number" ? step : String(step)));
    const inner = issuesOfList(issue, valueAt(value, path));
    if (inner !== undefined) {
      const nested = inner.map((each) => ({ ...each, path: [...path, ...each.path] }));
      return describeIssues(nested, schema, value);
    }
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => describeKey(path, key, schemaAt(schema, path)));
    }
    return [describeValue(path, schemaAt(schema, path), value)];
  });
}

/** What a list has against it where a word would do too: of its items, when it is a list at all. */
function issuesOfList(
  issue: z.core.$ZodIssue,
  value: unknown,
): readonly z.core.$ZodIssue[] | undefined {
  if (issue.code !== "invalid_union" || !Array.isArray(value)) return undefined;
  return issue.errors.find((issues) => issues.some(({ path }) => path.length > 0));
}

function describeKey(path: Path, key: string, schema: z.core.$ZodType | undefined): Finding {
  const allowed = keysOf(schema);
  const later = laterKey(placeOf(path), key);
  const meant = closest(key, allowed);
  let message = `Unknown key; allowed are ${allowed.join(", ")}`;
  if (later !== undefined) message = `Not yet: this version has no ${later}; remove the key`;
  else if (path.length === 0 && roots.has(key)) message = misplaced(key);
  else if (meant !== undefined) message = `Unknown key; did you mean ${quote(meant)}?`;
  return { path: [...path, key], message, at: "key" };
}

const roots = new Set(["director", "pools", "services", "agent"]);

const misplaced = (key: string): string =>
  key === "agent"
    ? "A director's file has no agent; put it in a file of its own"
    : `An agent's file has no ${key}; put it in a file of its own`;

function describeValue(path: Path, schema: z.core.$ZodType | undefined, root: unknown): Finding {
  const allowed = (schema && descriptionOf(schema)) ?? "something else";
  const value = valueAt(root, path);
  if (value === undefined) {
    return { path, message: `Missing; expected ${allowed}`, byAbsence: true };
  }
  if (value === null && path.length === 0) {
    return { path, message: `The file is empty; expected ${allowed}` };
  }
  const later = laterValue(placeOf(path), value);
  if (later !== undefined) return { path, message: `Not yet: this version has no ${later}` };
  return {
    path,
    message: `Expected ${allowed}; got ${show(value)}${quotingFix(schema, value)}`,
  };
}

/** YAML's own trap: 80 is a number and "80" is not. */
function quotingFix(schema: z.core.$ZodType | undefined, value: unknown): string {
  const types = schema === undefined ? [] : typesOf(schema);
  if (types.includes("number") && typeof value === "string" && /^\d+$/.test(value)) {
    return " (a text; remove the quotes)";
  }
  if (
    types.every((type) => type === "string") &&
    (typeof value === "number" || typeof value === "boolean")
  ) {
    return ` (a ${typeof value}; put it in quotes)`;
  }
  return "";
}

function show(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value))
    return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "string") return quote(value);
  return typeof value === "object" ? "a map" : `${value as number | boolean}`;
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

/** `pools[].backends[]`: a path without the numbers. */
const placeOf = (path: Path): string => formatPath(path).replace(/\[\d+\]/g, "[]");

/** `.optional()` and `.default()` wrap the schema that carries the description. */
const descriptionOf = (schema: z.core.$ZodType): string | undefined =>
  z.globalRegistry.get(unwrap(schema))?.description;

function keysOf(schema: z.core.$ZodType | undefined): string[] {
  if (schema === undefined) return [];
  const def = (unwrap(schema) as z.core.$ZodTypes)._zod.def;
  return def.type === "object" ? Object.keys(def.shape) : [];
}

function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    const def: z.core.$ZodTypes["_zod"]["def"] = defOf(listOf(at));
    if (def.type === "array") at = def.element;
    else if (def.type === "object") at = def.shape[step];
    else return undefined;
    if (at === undefined) return undefined;
  }
  return at;
}

const defOf = (schema: z.core.$ZodType): z.core.$ZodTypes["_zod"]["def"] =>
  (unwrap(schema) as z.core.$ZodTypes)._zod.def;

/** The list, of a schema that takes a list or a word. */
function listOf(schema: z.core.$ZodType): z.core.$ZodType {
  const def = defOf(schema);
  if (def.type !== "union") return schema;
  return def.options.find((option) => defOf(option).type === "array") ?? schema;
}

/** Of a union, those of what it takes. */
function typesOf(schema: z.core.$ZodType): readonly string[] {
  const def = defOf(schema);
  return def.type === "union" ? def.options.flatMap(typesOf) : [def.type];
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const def = (schema as z.core.$ZodTypes)._zod.def;
  const wraps = def.type === "optional" || def.type === "default" || def.type === "prefault";
  return wraps ? unwrap(def.innerType) : schema;
}
