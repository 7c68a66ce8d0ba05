import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
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
    const path = join(folder, `${round}.sock`);
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
