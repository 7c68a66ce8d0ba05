/** What a daemon answers while it starts: that it does, and which process it is. */
import { Hono } from "hono";
import { problem } from "./problem.ts";

export function startingApi(name: string, pid: number): Hono {
  const app = new Hono();
  app.all("*", (c) => problem(c, 503, `${name} is starting`, { pid }));
  return app;
}
