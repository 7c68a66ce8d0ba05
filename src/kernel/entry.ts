/**
 * Where the entry file of a worker or a child process is. Imports are rewritten when src/ is compiled,
 * the text inside `new URL("./worker.ts", import.meta.url)` is not: the published file is worker.js.
 */
import { extname } from "node:path";

/**
 * The URL of the file `name` (without extension, relative to the caller) of the same kind as the caller.
 *
 * @example
 * new Worker(entryUrl("./worker", import.meta.url));
 */
export const entryUrl = (name: string, callerUrl: string): URL =>
  new URL(name + extname(callerUrl), callerUrl);
