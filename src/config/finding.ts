/**
 * What readers and rules say before positions are known: the place by path. `Document.position()`
 * turns a finding into an issue.
 */
export type Path = readonly (string | number)[];

export interface Finding {
  readonly path: Path;
  readonly message: string;
  /** Points at the key, or at an offset into the text; at the value when not given. */
  readonly at?: "key" | number;
  /** True only if all of the file was read: not said of a file with broken YAML. */
  readonly byAbsence?: true;
}

/** `services[0].ports[1]`; keys that are not plain words are quoted. */
export function formatPath(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (!/^[\w-]{1,64}$/.test(step)) text += `[${quote(step)}]`;
    else text += text === "" ? step : `.${step}`;
  }
  return text;
}

/** Text of the operator inside a message: quoted, on one line, not endless. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 48 ? `${text.slice(0, 45)}...` : text);
}
