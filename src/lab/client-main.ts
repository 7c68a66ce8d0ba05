/**
 * The lab's client, and the process that holds its node. Takes orders on stdin, reports on stdout
 * (`load-report.ts`), ends when stdin does. It starts before its node has interfaces.
 */
import { flushCompileCache } from "node:module";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { HttpConnection } from "./http-connection.ts";
import { Load } from "./load.ts";
import type { LoadMessage, LoadOrder } from "./load-report.ts";

/** Between two knocks. */
const KNOCK_AGAIN_MS = 20;
const KNOCK_PORT = 9_000;

let load: Load | null = null;

const say = (message: LoadMessage): void => {
  process.stdout.write(`${JSON.stringify(message)}\n`);
};

async function knock(vips: readonly string[], port: number): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const vip = vips[attempt % vips.length] ?? "";
    // A port of its own each time, as the last may still be waiting.
    const connection = new HttpConnection({ vip, port, localPort: KNOCK_PORT + (attempt % 1000) });
    try {
      const { backend } = await connection.get("/", { last: true });
      say({ kind: "first", vip, backend });
      return;
    } catch {
      await delay(KNOCK_AGAIN_MS);
    } finally {
      connection.close();
    }
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line) as LoadOrder;
    switch (order.order) {
      case "knock":
        void knock(order.vips, order.port);
        return;
      case "load":
        load = new Load(order.vips, order.port, say);
        return;
      case "stop":
        void load?.stop();
    }
  })
  .on("close", () => process.exit());

// It will be killed, which would lose the cache.
flushCompileCache();
