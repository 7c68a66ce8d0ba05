/**
 * Asking the API behind a Unix socket (`serve.ts` is the other end). The socket is also what says that
 * a daemon runs: a path where nobody answers was left by one that was killed.
 */
import { request } from "node:http";

const ANSWER_WITHIN_MS = 5000;

export interface Answer {
  readonly status: number;
  /** Parsed JSON. */
  readonly body: unknown;
}

/** Nobody answers at the socket. */
export class NotRunningError extends Error {
  constructor(path: string, cause: unknown) {
    super(`No daemon answers at ${path}`, { cause });
    this.name = "NotRunningError";
  }
}

/**
 * One request to the daemon behind a socket.
 * @throws {NotRunningError} when there is none
 */
export function ask(
  path: string,
  method: "GET" | "PUT",
  route: string,
  body?: unknown,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        socketPath: path,
        method,
        path: route,
        timeout: ANSWER_WITHIN_MS,
        // A connection kept from an earlier request may lead to a daemon that is gone.
        agent: false,
        headers: body === undefined ? {} : { "content-type": "application/json" },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const body = parseJson(Buffer.concat(chunks).toString("utf8"));
          if (body instanceof Error) reject(body);
          else resolve({ status: response.statusCode ?? 0, body });
        });
      },
    );
    sent.on("timeout", () => sent.destroy(new Error(`The daemon at ${path} does not answer`)));
    sent.on("error", (error: NodeJS.ErrnoException) => {
      const gone = error.code === "ENOENT" || error.code === "ECONNREFUSED";
      reject(gone ? new NotRunningError(path, error) : error);
    });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    return new Error("The daemon answered something else than JSON", { cause });
  }
}
