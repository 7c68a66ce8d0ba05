import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Hono } from "hono";
import { serveSocket, SocketTakenError } from "./serve.ts";
import { ask } from "./socket.ts";

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
