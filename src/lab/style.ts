/** Emphasis on terminals; nothing elsewhere (https://no-color.org). */
import { styleText } from "node:util";

type Emphasis = (text: string) => string;

export interface Style {
  readonly bold: Emphasis;
  readonly dim: Emphasis;
  readonly good: Emphasis;
  readonly bad: Emphasis;
}

export function styleFor(isTerminal: boolean, env: NodeJS.ProcessEnv): Style {
  const isPlain = !isTerminal || (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  const emphasis =
    (format: Parameters<typeof styleText>[0]): Emphasis =>
    (text) =>
      isPlain ? text : styleText(format, text, { validateStream: false });
  return {
    bold: emphasis("bold"),
    dim: emphasis("dim"),
    good: emphasis("green"),
    bad: emphasis(["red", "bold"]),
  };
}
