/** Where the author of a program wrote an instruction: the nearest stack frame outside the builder. */
import { readFileSync } from "node:fs";
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** 1-based line and column of an absolute path. */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const builderFolder = dirname(fileURLToPath(import.meta.url));
const codeFolder = dirname(builderFolder);
/** Frames between the author and here: value, view and function each add a few. */
const DEPTH = 16;

/** The author's position, or `null` when no frame outside the builder is near. */
export function authorLocation(): SourceLocation | null {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = DEPTH;
  const { stack } = new Error();
  Error.stackTraceLimit = limit;
  for (const frame of stack?.split("\n").slice(2) ?? []) {
    const match = /\(?(?:file:\/\/)?(\/[^()]+?):(\d+):(\d+)\)?$/.exec(frame);
    const [, file, line, column] = match ?? [];
    if (file === undefined || isBuilder(file)) continue;
    return { file, line: Number(line), column: Number(column) };
  }
  return null;
}

// The builder's own tests are authors too.
const isBuilder = (file: string): boolean =>
  dirname(file) === builderFolder && !file.includes(".test.");

/** The file as messages name it: from the root of the code when it lies there. */
export function shortName(file: string): string {
  const path = relative(codeFolder, file);
  return path.startsWith("..") ? file : path;
}

const texts = new Map<string, readonly string[]>();

/** The author's line itself, trimmed; empty when the file cannot be read. */
export function sourceText(location: SourceLocation): string {
  let lines = texts.get(location.file);
  if (lines === undefined) {
    try {
      lines = readFileSync(location.file, "utf8").split("\n");
    } catch {
      lines = [];
    }
    texts.set(location.file, lines);
  }
  return (lines[location.line - 1] ?? "").trim();
}
