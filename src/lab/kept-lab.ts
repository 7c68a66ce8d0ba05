/**
 * A lab that stays until it is told to go: a detached process holds it (`keeper-main`), and answers
 * at a socket. Whoever answers there is the one lab of this machine.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ask, NotRunningError } from "../api/socket.ts";
import { RUN_FOLDER } from "../daemon/instance.ts";
import { entryUrl } from "../kernel/entry.ts";
import type { LabNodeName } from "./topology.ts";

export const KEEPER_SOCKET: string = `${RUN_FOLDER}/lab.sock`;

export interface KeptNode {
  readonly name: LabNodeName;
  /** Of the process that holds its namespaces. */
  readonly pid: number;
  readonly addresses: readonly string[];
  /** What runs there. */
  readonly runs: readonly string[];
}

export interface KeptLab {
  /** Of the keeper. */
  readonly pid: number;
  /** `starting` until the first request was answered. */
  readonly state: "starting" | "up";
  /** ISO 8601. */
  readonly since: string;
  readonly vips: readonly string[];
  readonly port: number;
  readonly nodes: readonly KeptNode[];
}

/** What the keeper tells whoever started it, once. */
export type KeeperMessage = { readonly up: true } | { readonly error: string };

/** The lab that is kept now, `null` when there is none. */
export async function keptLab(): Promise<KeptLab | null> {
  try {
    return (await ask(KEEPER_SOCKET, "GET", "/v1/status")).body as KeptLab;
  } catch (error) {
    if (error instanceof NotRunningError) return null;
    throw error;
  }
}

/**
 * Starts a lab and returns when the first request was answered. `directorConfig` is a file, the
 * example's by default.
 * @throws {Error} when one is kept already, or it does not start; nothing is left then
 */
export async function keepLab(directorConfig?: string): Promise<KeptLab> {
  const running = await keptLab();
  if (running !== null) {
    throw new Error(
      `Cannot start a lab: one is ${running.state} already (pid ${running.pid}); run carom lab down first`,
    );
  }
  const main = fileURLToPath(entryUrl("./keeper-main", import.meta.url));
  const keeper = spawn(
    process.execPath,
    [main, ...(directorConfig === undefined ? [] : [directorConfig])],
    {
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    },
  );
  const message = await outcomeOf(keeper);
  if ("error" in message) throw new Error(message.error);
  keeper.disconnect();
  keeper.unref();
  const lab = await keptLab();
  if (lab === null) throw new Error("The lab is gone just after it was up");
  return lab;
}

async function outcomeOf(keeper: ChildProcess): Promise<KeeperMessage> {
  return await Promise.race([
    once(keeper, "message").then(([message]) => message as KeeperMessage),
    once(keeper, "exit").then(([code, signal]) => ({
      error: `The process that keeps the lab ended with ${String(code ?? signal)}`,
    })),
  ]);
}

/** Takes the kept lab down; says whether there was one. */
export async function endKeptLab(): Promise<boolean> {
  try {
    await ask(KEEPER_SOCKET, "PUT", "/v1/down");
    return true;
  } catch (error) {
    if (error instanceof NotRunningError) return false;
    throw error;
  }
}
