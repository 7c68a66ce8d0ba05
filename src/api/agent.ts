/** The agent's API: HTTP and JSON, one route. It tells, it changes nothing. */
import { Hono } from "hono";
import type { AttachMode } from "../apply/generation.ts";
import { problem } from "./problem.ts";
import type { Traffic } from "./traffic.ts";

export interface AgentInterfaceStatus {
  readonly name: string;
  readonly mode: AttachMode;
  /** Why it is not native XDP, where that was wanted first. */
  readonly fallback: string | null;
  /** What was left out of the program, since the kernel refused the whole. */
  readonly without: readonly string[];
}

export interface AgentStatus {
  readonly instance: string;
  readonly pid: number;
  /** Those with a program; a configured one that is missing here is gone. */
  readonly interfaces: readonly AgentInterfaceStatus[];
  readonly vips: readonly string[];
  readonly directors: readonly string[];
  /** What became of every packet received since this run began, by reason. */
  readonly reasons: Readonly<Record<string, Traffic>>;
}

export function agentApi(status: () => AgentStatus): Hono {
  const app = new Hono();
  app.get("/v1/status", (c) => c.json(status()));
  app.notFound((c) => problem(c, 404, `There is no ${c.req.method} ${c.req.path}`));
  return app;
}
