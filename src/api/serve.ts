/**
 * Serving an API on a Unix socket (`socket.ts` asks it). Whoever listens there is the one daemon of its
 * name, so of many who try at the same moment one gets it: they take turns by a lock on the folder, and
 * only a socket where nobody answers is replaced.
 */
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createAdaptorServer, type HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { call, SystemError } from "../kernel/libc.ts";
import { problem } from "./problem.ts";

/** Owner and group may speak to a daemon, others may not: of the 0777 the kernel gives a socket. */
const SOCKET_UMASK = 0o117;
const FOLDER_MODE = 0o755;

// include/uapi/asm-generic/fcntl.h
const LOCK_EX = 2;
const LOCK_NB = 4;
const TURN_WITHIN_MS = 10_000;
const TRY_AGAIN_MS = 10;

export interface ApiLimits {
  /** In which a request must have arrived, headers and body. */
  readonly requestWithinMs: number;
  readonly bodyBytesMax: number;
  readonly connectionsMax: number;
}

/** Far more than any request of ours needs. Requests that go beyond are refused, or their connection is closed. */
const LIMITS: ApiLimits = {
  requestWithinMs: 5000,
  bodyBytesMax: 64 * 1024,
  connectionsMax: 64,
};

export interface ApiSocket {
  /** Answers with `app` from now on. */
  use(app: Hono): void;
  close(): Promise<void>;
}

/** Somebody else listens at the socket. */
export class SocketTakenError extends Error {
  constructor(path: string) {
    super(`Cannot listen at ${path}: another process does`);
    this.name = "SocketTakenError";
  }
}

/**
 * Serves `app` at `path`. A socket left by a process that is gone is replaced.
 * @throws {SocketTakenError} when somebody listens there
 */
export async function serveSocket(
  app: Hono,
  path: string,
  limits: ApiLimits = LIMITS,
): Promise<ApiSocket> {
  let served = app;
  const limited = new Hono<{ Bindings: HttpBindings }>();
  limited.use(
    bodyLimit({
      maxSize: limits.bodyBytesMax,
      onError: (c) =>
        problem(c, 413, `The body must not be larger than ${limits.bodyBytesMax} bytes`),
    }),
  );
  limited.all("*", (c) => served.fetch(c.req.raw, c.env));
  const server = createAdaptorServer({
    fetch: limited.fetch,
    serverOptions: {
      headersTimeout: limits.requestWithinMs,
      requestTimeout: limits.requestWithinMs,
      connectionsCheckingInterval: Math.ceil(limits.requestWithinMs / 5),
    },
  }) as Server;
  server.maxConnections = limits.connectionsMax;
  const folder = dirname(path);
  const turn = await takeTurn(folder);
  try {
    if (await isServed(path)) throw new SocketTakenError(path);
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) => {
        reject(new Error(`Cannot listen at ${path}: ${cause.code ?? cause.message}`, { cause }));
      });
      // Binds before it returns: the socket never has another mode.
      const umask = process.umask(SOCKET_UMASK);
      try {
        server.listen(path, resolve);
      } finally {
        process.umask(umask);
      }
    });
  } finally {
    turn.end();
  }
  return {
    use: (next) => {
      served = next;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      const turn = await takeTurn(folder);
      removeIfEmpty(folder);
      turn.end();
    },
  };
}

/** To be called by who has the turn there. */
export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Who may not remove it leaves an empty folder behind, no more.
    if (code === undefined) throw error;
  }
}

/**
 * Makes `folder` if need be, and waits until nobody else of this machine is taking or removing sockets
 * in it. Ends with the process at the latest.
 * @throws {Error} when others take too long, or there is no making it
 */
export async function takeTurn(folder: string): Promise<{ end(): void }> {
  const deadline = AbortSignal.timeout(TURN_WITHIN_MS);
  for (;;) {
    const fd = openFolder(folder);
    if (fd !== null) {
      // Another may have removed the folder, and a third made it anew.
      if (isLocked(fd) && isStill(folder, fd)) return { end: () => closeSync(fd) };
      closeSync(fd);
    }
    if (deadline.aborted) {
      throw new Error(`Cannot have ${folder}: another process has held a lock on it for 10 s`);
    }
    await delay(TRY_AGAIN_MS);
  }
}

/** `null` when somebody removed it just after it was made. */
function openFolder(folder: string): number | null {
  try {
    for (const each of [dirname(folder), folder]) makeFolder(each);
    return openSync(folder, "r");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    throw new Error(`Cannot have the folder ${folder}: ${code ?? message}`, { cause });
  }
}

/** Not recursively: there Node hides what the kernel said. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw error;
  }
  // Whatever our umask: the socket's own mode says who may speak to a daemon.
  chmodSync(folder, FOLDER_MODE);
}

function isLocked(fd: number): boolean {
  try {
    call("flock", fd, LOCK_EX | LOCK_NB);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "EAGAIN") return false;
    throw error;
  }
}

function isStill(folder: string, fd: number): boolean {
  const now = statSync(folder, { throwIfNoEntry: false });
  return now !== undefined && now.ino === fstatSync(fd).ino;
}

/** A stopped process counts: its socket takes connections as long as it exists. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const end = (served: boolean): void => {
      socket.destroy();
      resolve(served);
    };
    socket.once("connect", () => end(true));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      switch (error.code) {
        case "ENOENT":
        case "ECONNREFUSED":
          return end(false);
        // Nobody has accepted for so long that no more may wait.
        case "EAGAIN":
          return end(true);
        default:
          return reject(error);
      }
    });
  });
}
