/**
 * The agent's state file: what it changed on its host and did not put back yet. It is written before
 * each change, so that whatever ends the agent, the next run or `carom teardown` knows what was
 * there. It lies in /run, which a reboot empties as it undoes the changes.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { formatPrefix, type IpPrefix, parsePrefix } from "../net/prefix.ts";
import type { SysctlChange } from "../plan/agent-sysctls.ts";

export interface AgentState {
  readonly sysctls: readonly SysctlChange[];
  /** On `lo`: addresses, and prefixes by local routes. */
  readonly vips: readonly IpPrefix[];
}

export const nothingChanged: AgentState = { sysctls: [], vips: [] };

const File = z.strictObject({
  version: z.literal(1),
  sysctls: z.array(
    z.strictObject({
      // Nothing but what an agent sets: this file says what root writes where.
      key: z.tuple([
        z.literal("net"),
        z.literal("ipv4"),
        z.literal("conf"),
        z.string().regex(/^(?!\.{1,2}$)[^/\0]+$/),
        z.string().regex(/^[a-z_]+$/),
      ]),
      original: z.string(),
      set: z.string(),
    }),
  ),
  vips: z.array(
    z.string().transform((text, context): IpPrefix => {
      const prefix = parsePrefix(text);
      if (prefix !== undefined) return prefix;
      context.addIssue(`"${text}" is no address or prefix`);
      return z.NEVER;
    }),
  ),
});

/**
 * What is recorded in `file`; nothing when there is no such file.
 * @throws {Error} when it cannot be read or understood
 */
export function readAgentState(file: string): AgentState {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return nothingChanged;
    throw unreadable(file, (cause as Error).message, cause);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw unreadable(file, "it is no JSON", cause);
  }
  const parsed = File.safeParse(json);
  if (!parsed.success) throw unreadable(file, z.prettifyError(parsed.error), parsed.error);
  const { sysctls, vips } = parsed.data;
  return { sysctls, vips };
}

/** Writes `file` as a whole or not at all; a state of nothing removes it. */
export function writeAgentState(file: string, state: AgentState): void {
  if (state.sysctls.length === 0 && state.vips.length === 0) {
    rmSync(file, { force: true });
    return;
  }
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  const record = { version: 1, sysctls: state.sysctls, vips: state.vips.map(formatPrefix) };
  const next = `${file}.next`;
  const fd = openSync(next, "w", 0o600);
  try {
    // Writes on after a short write, which is how a file system that runs full begins to refuse.
    writeFileSync(fd, `${JSON.stringify(record, null, 2)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(next, file);
}

const unreadable = (file: string, why: string, cause: unknown): Error =>
  new Error(
    `Cannot read what an agent changed on this host from ${file}: ${why}; put it back by hand, then remove the file`,
    { cause },
  );
