/** One parsed document against one schema and its rules: the values, or every issue. */
import type * as z from "zod";
import type { Document } from "./document.ts";
import { removeInvalid } from "./draft.ts";
import type { Finding, Path } from "./finding.ts";
import { formatPath } from "./finding.ts";
import type { ConfigIssue } from "./issue.ts";
import { ConfigError, sortIssues } from "./issue.ts";
import type { PlaceText } from "./places.ts";
import type { Draft } from "./schema.ts";
import { describeIssues } from "./wording.ts";

/**
 * What the schema makes of the document, if nothing is wrong with it.
 * @throws {ConfigError} with what YAML, schema and rules have against it
 */
export function check<Schema extends z.ZodType>(
  document: Document,
  file: string,
  schema: Schema,
  rules: (draft: Draft<z.input<Schema>>, placeText: PlaceText) => Iterable<Finding>,
): z.output<Schema> {
  const parsed = parse(schema, document.value);
  if (parsed === undefined) throw tooManyMistakes(document, file, schema);
  const shape = shapeFindings(document, schema, document.value, parsed.error?.issues);
  const placeText: PlaceText = (path) => {
    const { line, column } = document.position(document.offset(path));
    return `${line}:${column}`;
  };
  const draft = removeInvalid(document.value, shape);
  const deeper = draft === undefined ? [] : rules(draft as Draft<z.input<Schema>>, placeText);
  const findings = [...document.findings, ...soundOnly(document, [...shape, ...deeper])];
  if (findings.length > 0 || !parsed.success) {
    throw new ConfigError(toIssues(document, file, findings));
  }
  return parsed.data;
}

/** Findings as issues, in the order of the file. */
export function toIssues(
  document: Document,
  file: string,
  findings: readonly Finding[],
): ConfigIssue[] {
  const issues = findings.map(({ path, at, message }) => {
    const position = document.position(document.offset(path, at));
    return { file, ...position, path: formatPath(path), message };
  });
  return sortIssues(issues);
}

/** `undefined` when there are more issues than zod can hold. */
function parse<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.ZodSafeParseResult<z.output<Schema>> | undefined {
  try {
    return schema.safeParse(value);
  } catch (error) {
    // zod hands issues upward as arguments of one call: about 100 000 of them overflow the stack.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** How far each list is checked when all of it is wrong. */
const listItemsMax = 50;

function tooManyMistakes(document: Document, file: string, schema: z.ZodType): ConfigError {
  const start = firstItems(document.value);
  const shape = shapeFindings(document, schema, start, schema.safeParse(start).error?.issues);
  const message = `Too many mistakes to list; of each list only the first ${listItemsMax} items were checked`;
  const findings = [...document.findings, ...soundOnly(document, shape), { path: [], message }];
  return new ConfigError(toIssues(document, file, findings));
}

function firstItems(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.slice(0, listItemsMax).map(firstItems);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, firstItems(item)]));
}

function shapeFindings(
  document: Document,
  schema: z.ZodType,
  value: unknown,
  issues: readonly z.core.$ZodIssue[] | undefined,
): Finding[] {
  return describeIssues(issues ?? [], schema, value).filter(
    ({ path }) => !isUnreadable(document, path),
  );
}

/** Behind broken YAML nothing is known to be wrong, and nothing is known to be missing. */
function soundOnly(document: Document, findings: readonly Finding[]): readonly Finding[] {
  const { doubtfulFrom } = document;
  if (doubtfulFrom === null) return findings;
  return findings.filter(
    ({ path, at, byAbsence }) => byAbsence !== true && document.offset(path, at) < doubtfulFrom,
  );
}

/** The YAML reader has said what is wrong there; the schema sees a hole. */
function isUnreadable({ unreadable }: Document, path: Path): boolean {
  if (unreadable.size === 0) return false;
  return Array.from({ length: path.length + 1 }, (_, end) => path.slice(0, end)).some((part) =>
    unreadable.has(formatPath(part)),
  );
}
