/**
 * Configuration files, YAML to model. yaml and zod are loaded when the first file is read, so that
 * commands that read none start without them.
 */
import { isUtf8 } from "node:buffer";
import { open } from "node:fs/promises";
import type { AgentConfig, DirectorConfig } from "../model/model.ts";
import { faultText } from "./fault.ts";
import type { ConfigIssue } from "./issue.ts";
import { ConfigError } from "./issue.ts";
import { readSecret } from "./secret.ts";

export { ConfigError, formatIssue } from "./issue.ts";
export type { ConfigIssue } from "./issue.ts";

/** 65 535 backends take about 4 MiB. */
const fileMaxBytes = 8 * 1024 * 1024;

/**
 * Reads a director's file and the key files it names.
 * @throws {ConfigError} with every issue, also when the file cannot be read
 */
export async function readDirectorConfig(file: string): Promise<DirectorConfig> {
  const text = await readText(file);
  const { parseDirectorConfig } = await import("./parse.ts");
  return parseDirectorConfig(text, file, readSecret);
}

/**
 * Reads an agent's file.
 * @throws {ConfigError} with every issue, also when the file cannot be read
 */
export async function readAgentConfig(file: string): Promise<AgentConfig> {
  const text = await readText(file);
  const { parseAgentConfig } = await import("./parse.ts");
  return parseAgentConfig(text, file);
}

/** Everything that is wrong with a file of either kind; empty when a daemon would start with it. */
export async function checkConfig(file: string): Promise<readonly ConfigIssue[]> {
  try {
    const text = await readText(file);
    const { checkText } = await import("./parse.ts");
    return checkText(text, file, readSecret);
  } catch (error) {
    if (error instanceof ConfigError) return error.issues;
    throw error;
  }
}

/** @throws {ConfigError} when the file cannot be read or is no UTF-8 */
async function readText(file: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readUpTo(file, fileMaxBytes + 1);
  } catch (cause) {
    throw fileError(file, `Cannot read the file: ${faultText(cause)}`, cause);
  }
  if (bytes.length > fileMaxBytes) {
    throw fileError(
      file,
      `Larger than ${fileMaxBytes / 1024 / 1024} MiB, the most a configuration may be`,
    );
  }
  if (!isUtf8(bytes)) throw notUtf8(file, bytes);
  return new TextDecoder().decode(bytes);
}

/** Not `readFile`: that reads /dev/zero until memory ends, and a pipe has no size to ask for. */
async function readUpTo(file: string, maxBytes: number): Promise<Uint8Array> {
  await using handle = await open(file);
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  while (sizeBytes < maxBytes) {
    const { bytesRead, buffer } = await handle.read({ buffer: new Uint8Array(256 * 1024) });
    if (bytesRead === 0) break;
    chunks.push(buffer.subarray(0, bytesRead));
    sizeBytes += bytesRead;
  }
  return Buffer.concat(chunks);
}

/** Names the line, which is all that a broken encoding leaves to point at. */
function notUtf8(file: string, bytes: Uint8Array): ConfigError {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline + 1;
    if (!isUtf8(bytes.subarray(start, end))) break;
    start = end;
  }
  const message = "Not UTF-8 text; save the file as UTF-8";
  return new ConfigError([{ file, line, column: 1, path: "", message }]);
}

function fileError(file: string, message: string, cause?: unknown): ConfigError {
  const error = new ConfigError([{ file, line: 0, column: 0, path: "", message }]);
  if (cause !== undefined) error.cause = cause;
  return error;
}
