/** What is wrong with a configuration file: all of it at once, each with its position. */

export interface ConfigIssue {
  readonly file: string;
  /** Counts from 1; 0 when the file itself could not be read. */
  readonly line: number;
  /** Counts from 1 in UTF-16 code units; 0 when the file itself could not be read. */
  readonly column: number;
  /** Such as `services[0].ports[1]`; empty for the file as a whole. */
  readonly path: string;
  /** What is wrong and what is allowed: one line, no full stop. */
  readonly message: string;
}

/** A configuration that cannot be used. `message` is every issue, one a line. */
export class ConfigError extends Error {
  readonly issues: readonly ConfigIssue[];

  constructor(issues: readonly ConfigIssue[]) {
    super(issues.map(formatIssue).join("\n"));
    this.name = "ConfigError";
    this.issues = issues;
  }
}

/** `file:line:column: path: message`, without the parts that are not known. */
export function formatIssue({ file, line, column, path, message }: ConfigIssue): string {
  const where = line === 0 ? file : `${file}:${line}:${column}`;
  return path === "" ? `${where}: ${message}` : `${where}: ${path}: ${message}`;
}

/** In the order of the file; issues at one place by path, then text. */
export function sortIssues(issues: readonly ConfigIssue[]): ConfigIssue[] {
  return issues.toSorted(
    (a, b) =>
      a.line - b.line ||
      a.column - b.column ||
      compareText(a.path, b.path) ||
      compareText(a.message, b.message),
  );
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
