import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Hono } from "hono";
import { serveSocket, SocketTakenError } from "./serve.ts";
import { ask } from "./socket.ts";

const LIMITS = { requestWithinMs: 250, bodyBytesMax: 1024, connectionsMax: 8 };

const folder = mkdtempSync(join(tmpdir(), "carom-serve-"));
after(() => rmSync(folder, { recursive: true }));

const saying = (number: number): Hono => new Hono().get("/", (c) => c.json({ number }));

test("serveSocket() by many at once gives a dead socket's path to one of them", async () => {
  for (let round = 0; round < 5; round++) {
    const path = join(folder, String(round), "director.sock");
    mkdirSync(join(folder, String(round)));
    // Nobody answers there, as at the socket of a daemon that was killed.
    writeFileSync(path, "");
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, (_, number) => serveSocket(saying(number), path)),
    );
    const served = tries.flatMap((attempt, number) =>
      attempt.status === "fulfilled" ? [{ number, socket: attempt.value }] : [],
    );
    const refused = tries.flatMap((attempt) =>
      attempt.status === "rejected" ? [attempt.reason as Error] : [],
    );
    assert.equal(served.length, 1);
    assert.ok(refused.every((error) => error instanceof SocketTakenError));
    const [one] = served;
    assert.deepEqual((await ask(path, "GET", "/")).body, { number: one?.number });
    one?.socket.use(saying(100));
    assert.deepEqual((await ask(path, "GET", "/")).body, { number: 100 });
    await one?.socket.close();
  }
});

test("takeTurn() makes the folder, also while others remove it", async () => {
  const umask = process.umask(0o077);
  try {
    const name = join(folder, "instance");
    const path = join(name, "agent.sock");
    for (let round = 0; round < 20; round++) {
      const [first, second] = await Promise.all([
        serveSocket(saying(1), path),
        serveSocket(saying(2), join(name, "director.sock")),
      ]);
      assert.equal(statSync(name).mode & 0o777, 0o755);
      const [, third] = await Promise.all([
        first.close(),
        second.close().then(() => serveSocket(saying(3), path)),
      ]).catch((error: unknown) => {
        // The first may still have had it.
        assert.ok(error instanceof SocketTakenError);
        return [];
      });
      await third?.close();
      await first.close();
      assert.equal(existsSync(name), false, "an empty folder stays");
    }
  } finally {
    process.umask(umask);
  }
});

for (const umask of [0, 0o077]) {
  test(`the socket is for owner and group under umask ${umask.toString(8)}, which stays`, async () => {
    const before = process.umask(umask);
    try {
      const path = join(folder, "mode", "agent.sock");
      const socket = await serveSocket(saying(1), path);
      assert.equal(statSync(path).mode & 0o777, 0o660);
      assert.equal(process.umask(), umask);
      await socket.close();
    } finally {
      process.umask(before);
    }
  });
}

/** Writes to the socket at `path` and resolves with all that is answered until the other end closes. */
function converse(path: string, write: (socket: Socket) => void): Promise<string> {
  const socket = connect(path);
  let answer = "";
  return new Promise((resolve) => {
    socket.on("data", (chunk) => {
      answer += String(chunk);
    });
    // What is written to a connection that is closed meets EPIPE.
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
    socket.on("connect", () => write(socket));
  });
}

const HEADERS = "PUT / HTTP/1.1\r\nHost: carom\r\n";
const bad: readonly {
  readonly name: string;
  readonly write: (socket: Socket) => void;
  readonly answer: RegExp;
}[] = [
  { name: "says nothing", write: () => {}, answer: /^HTTP\/1.1 408 / },
  {
    name: "never ends its headers",
    write: (socket) => socket.write(HEADERS),
    answer: /^HTTP\/1.1 408 /,
  },
  {
    name: "never ends its body",
    write: (socket) => socket.write(`${HEADERS}Content-Length: 1000\r\n\r\n{`),
    answer: /^HTTP\/1.1 408 /,
  },
  {
    name: "says that it sends too much",
    write: (socket) => socket.end(`${HEADERS}Connection: close\r\nContent-Length: 1025\r\n\r\n`),
    answer: /^HTTP\/1.1 413 /,
  },
  {
    name: "sends without end",
    write: (socket) => {
      socket.write(`${HEADERS}Transfer-Encoding: chunked\r\n\r\n`);
      const chunk = `1000\r\n${"x".repeat(0x1000)}\r\n`;
      const more = (): void => {
        while (!socket.destroyed && socket.write(chunk));
      };
      socket.on("drain", more);
      more();
    },
    answer: /^HTTP\/1.1 413 /,
  },
];
for (const { name, write, answer } of bad) {
  test(`a client that ${name} is refused, and others are answered meanwhile`, async (t) => {
    const path = join(folder, "limits", "agent.sock");
    const app = saying(1).put("/", async (c) => c.json(await c.req.json().catch(() => null)));
    const socket = await serveSocket(app, path, LIMITS);
    t.after(() => socket.close());
    const clients = Array.from({ length: 4 }, () => converse(path, write));
    assert.equal((await ask(path, "GET", "/")).status, 200);
    for (const said of await Promise.all(clients)) assert.match(said, answer);
    assert.equal((await ask(path, "PUT", "/", { fine: true })).status, 200);
  });
}
