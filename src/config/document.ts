/**
 * YAML 1.2 as plain values, with the way back from a path to its line and column. Stricter than
 * YAML where leniency would hide a mistake: no duplicate keys, no unknown tags, no merge keys, one
 * document. Aliases work and are expanded, within a budget.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Alias, Document as YamlDocument, Node, Pair, YAMLError, YAMLMap } from "yaml";
import type { Finding, Path } from "./finding.ts";
import { formatPath, quote } from "./finding.ts";

export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Document {
  /** Maps have no prototype, so that no key is special; what could not be read is `undefined`. */
  readonly value: unknown;
  readonly findings: readonly Finding[];
  /** Formatted paths of what is in the text but could not be read. */
  readonly unreadable: ReadonlySet<string>;
  /** Offset from which broken YAML makes the value a guess; `null` when all of it is sound. */
  readonly doubtfulFrom: number | null;
  /** Offset of the value or key at `path`, or of the nearest thing around it that exists. */
  offset(path: Path, at?: "key" | number): number;
  position(offset: number): Position;
}

/** Values in a document after expansion: room for 200 000 backends, an end for bombs. */
const valuesMax = 1_000_000;
/** Deeper than any configuration. */
const depthMax = 32;
/** One mistake can make a parser stumble at every line that follows. */
const syntaxErrorsMax = 20;

/** Parses any text; what is wrong with it is in `findings`. */
export function parseYaml(text: string): Document {
  const lines = new LineCounter();
  const yaml = parseDocument(text, {
    lineCounter: lines,
    logLevel: "error",
    prettyErrors: false,
    // Quadratic in yaml; the reader below does it with paths and the first position.
    uniqueKeys: false,
  });
  const syntax = syntaxFindings(yaml, text.length);
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const reader = new Reader(syntax[0]?.at, position);
  const value = syntax.some((finding) => finding.message === tooDeep)
    ? undefined
    : reader.read(yaml.contents, [], 0);
  const exhausted = reader.values > valuesMax;
  const doubtfulFrom = syntax.length === 0 ? null : reader.doubtfulFrom;
  const offset = (path: Path, at?: "key" | number): number =>
    typeof at === "number" ? at : locate(yaml.contents, path, at, reader);
  const sound = reader.findings.filter(
    ({ path, at }) => doubtfulFrom === null || offset(path, at) < doubtfulFrom,
  );
  return {
    value: exhausted ? undefined : value,
    findings: exhausted ? [{ path: [], message: tooMany }] : [...syntax, ...sound],
    unreadable: new Set(value === undefined || exhausted ? [""] : reader.unreadable),
    doubtfulFrom,
    offset,
    position,
  };
}

const tooDeep = `Nested too deeply; a configuration has at most ${depthMax} levels`;
const tooMany = `Too large: more than ${valuesMax} values with its aliases expanded`;

type SyntaxFinding = Finding & { readonly at: number };

function syntaxFindings(yaml: YamlDocument.Parsed, sizeChars: number): SyntaxFinding[] {
  // Warnings are unknown tags and directives: accepted means honoured, so these are errors here.
  const errors: YAMLError[] = [...yaml.errors, ...yaml.warnings].toSorted(
    (a, b) => a.pos[0] - b.pos[0],
  );
  const found = errors.map((error) => ({
    path: [],
    message: syntaxMessage(error),
    // Where the stack ended says nothing of the text.
    at: error.code === "RESOURCE_EXHAUSTION" ? 0 : Math.min(error.pos[0], sizeChars),
  }));
  if (yaml.directives.yaml.version !== "1.2") {
    found.unshift({ path: [], message: "Only YAML 1.2 is read; remove the %YAML line", at: 0 });
  }
  const deep = found.find((finding) => finding.message === tooDeep);
  if (deep !== undefined) return [deep];
  const next = found[syntaxErrorsMax];
  if (next === undefined) return found;
  const left = found.length - syntaxErrorsMax;
  return [
    ...found.slice(0, syntaxErrorsMax),
    { ...next, message: `Not valid YAML: ${left} more errors from here on` },
  ];
}

function syntaxMessage({ code, message }: YAMLError): string {
  if (code === "RESOURCE_EXHAUSTION") return tooDeep;
  if (code === "MULTIPLE_DOCS") return 'A second document starts here ("---"); a file holds one';
  return `Not valid YAML: ${message.split("\n")[0]?.trim() ?? code}`;
}

/** Turns nodes into values, in the order of the text, which is what anchors mean. */
class Reader {
  readonly findings: Finding[] = [];
  readonly unreadable: string[] = [];
  readonly pairs = new Map<YAMLMap, ReadonlyMap<string, Pair>>();
  values = 0;
  doubtfulFrom = 0;
  readonly #anchors = new Map<string, Node>();
  /** An anchor given again later leaves earlier aliases what they were, also on later visits. */
  readonly #targets = new Map<Alias, Node>();
  /** What is being read now: an alias in it to it would never end. */
  readonly #open = new Set<Node>();
  /** Aliases that are being followed: text behind one has been read, and complained of, before. */
  #followed = 0;
  readonly #firstErrorAt: number | undefined;
  readonly #position: (offset: number) => Position;

  constructor(firstErrorAt: number | undefined, position: (offset: number) => Position) {
    this.#firstErrorAt = firstErrorAt;
    this.#position = position;
  }

  read(node: unknown, path: Path, depth: number): unknown {
    this.values++;
    if (this.values > valuesMax) return undefined;
    if (depth > depthMax) return this.#refuse(path, tooDeep);
    if (isAlias(node)) return this.#readAlias(node, path, depth);
    if (!isScalar(node) && !isSeq(node) && !isMap(node)) return null;
    this.#doubt(node);
    if (node.anchor !== undefined && this.#followed === 0) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return node.value;
    this.#open.add(node);
    const value = isSeq(node)
      ? node.items.map((item, index) => this.read(item, [...path, index], depth + 1))
      : this.#readMap(node, path, depth);
    this.#open.delete(node);
    return value;
  }

  #readAlias(node: Alias, path: Path, depth: number): unknown {
    const target = this.#targets.get(node) ?? this.#anchors.get(node.source);
    if (target === undefined) {
      return this.#refuse(path, `No anchor ${quote(`&${node.source}`)} before this alias`);
    }
    if (this.#open.has(target)) {
      return this.#refuse(path, `Alias ${quote(`*${node.source}`)} stands inside its own anchor`);
    }
    this.#targets.set(node, target);
    this.#followed++;
    const value = this.read(target, path, depth + 1);
    this.#followed--;
    return value;
  }

  #readMap(node: YAMLMap, path: Path, depth: number): unknown {
    const value = Object.create(null) as Record<string, unknown>;
    const seen = new Map<string, Pair>();
    this.pairs.set(node, seen);
    for (const pair of node.items) {
      const key = keyText(pair);
      const at = startOf(pair.key) ?? startOf(node) ?? 0;
      if (key === undefined) {
        const message = "Expected a plain word as key; got something else";
        this.#complain({ path, message, at });
        continue;
      }
      const first = seen.get(key);
      if (first !== undefined) {
        const { line, column } = this.#position(startOf(first.key) ?? 0);
        const message = `Duplicate key; first at ${line}:${column}`;
        this.#complain({ path: [...path, key], message, at });
      } else if (key === "<<") {
        const message = "Merge keys are not supported; use an alias for a whole value";
        this.#complain({ path: [...path, key], message, at });
      } else {
        value[key] = this.read(pair.value, [...path, key], depth + 1);
      }
      if (first === undefined) seen.set(key, pair);
    }
    return value;
  }

  #refuse(path: Path, message: string): undefined {
    this.#complain({ path, message });
    this.unreadable.push(formatPath(path));
    return undefined;
  }

  #complain(finding: Finding): void {
    if (this.#followed === 0) this.findings.push(finding);
  }

  /** The last node that begins before broken YAML: from its start on, values are guesses. */
  #doubt(node: Node): void {
    const at = this.#firstErrorAt;
    if (at === undefined || !node.range) return;
    const [start] = node.range;
    if (start <= at) this.doubtfulFrom = Math.max(this.doubtfulFrom, start);
  }
}

function keyText({ key }: Pair): string | undefined {
  if (!isScalar(key)) return undefined;
  const { value } = key;
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}

const startOf = (node: unknown): number | undefined =>
  isAlias(node) || isScalar(node) || isSeq(node) || isMap(node) ? node.range?.[0] : undefined;

function locate(root: unknown, path: Path, at: "key" | undefined, { pairs }: Reader): number {
  let offset = startOf(root) ?? 0;
  let node: unknown = root;
  for (const [index, step] of path.entries()) {
    // What is wrong behind an alias is shown where the alias is used; the anchor has its own path.
    if (isAlias(node)) return offset;
    let next: unknown;
    if (isSeq(node)) {
      next = node.items[Number(step)];
    } else if (isMap(node)) {
      const pair = pairs.get(node)?.get(String(step));
      if (pair === undefined) break;
      next = pair.value;
      const wantsKey = at === "key" && index === path.length - 1;
      if (wantsKey || startOf(next) === undefined) offset = startOf(pair.key) ?? offset;
      if (wantsKey) break;
    }
    if (next === undefined) break;
    offset = startOf(next) ?? offset;
    node = next;
  }
  return offset;
}
