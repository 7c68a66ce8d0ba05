/** Why a daemon does not start: one sentence each, all at once. Nothing was changed. */
export class StartError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join("\n"), options);
    this.name = "StartError";
    this.problems = problems;
  }
}
