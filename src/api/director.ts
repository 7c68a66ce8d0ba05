/**
 * The director's API: HTTP and JSON. Routes answer with what `DirectorControl` says; they decide
 * nothing. Errors are problem details (RFC 9457).
 */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import {
  type BackendState,
  backendStates,
  type Forwarding,
  type Protocol,
} from "../model/model.ts";
import type { AttachMode } from "../apply/generation.ts";
import { problem } from "./problem.ts";
import type { Traffic } from "./traffic.ts";

export interface BackendStatus extends Traffic {
  readonly name: string;
  readonly address: string;
  readonly forwarding: Forwarding;
  readonly weight: number;
  readonly state: BackendState;
  /** Buckets it owns now. */
  readonly buckets: number;
  /** MAC of the neighbour its packets go to; `null` while that is unresolved and they are dropped. */
  readonly nextHop: string | null;
}

export interface PoolStatus {
  readonly name: string;
  readonly buckets: number;
  readonly backends: readonly BackendStatus[];
}

export interface ServiceStatus extends Traffic {
  readonly name: string;
  readonly vips: readonly string[];
  readonly protocol: Protocol;
  /** As in a file: `80`, `8000-8999`, or `all` alone. */
  readonly ports: readonly string[];
  readonly hashKey: string;
  readonly pool: string;
}

export interface InterfaceStatus {
  readonly name: string;
  readonly mode: AttachMode;
  readonly verifiedInstructions: number;
  readonly xlatedBytes: number;
  /** VLAN tags that the program looks behind. */
  readonly vlanTags: number;
  /** What was left out of the program, since the kernel refused the whole. */
  readonly without: readonly string[];
}

export interface DirectorStatus {
  readonly instance: string;
  readonly pid: number;
  readonly interfaces: readonly InterfaceStatus[];
  readonly services: readonly ServiceStatus[];
  readonly pools: readonly PoolStatus[];
  /** What became of every packet received, by reason; they add up to `received`. */
  readonly reasons: Readonly<Record<string, Traffic>>;
  readonly received: Traffic;
}

export type StateChange = "changed" | "unchanged" | "no such pool" | "no such backend";

export interface DirectorControl {
  status(): DirectorStatus;
  /** Takes effect before it returns. */
  setBackendState(pool: string, backend: string, state: BackendState): StateChange;
}

/** A request is a state's name; what is larger is not read into memory. */
const BODY_BYTES_MAX = 4096;

const StateBody = z.strictObject({ state: z.enum(backendStates) });

export function directorApi(control: DirectorControl): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES_MAX,
      onError: (c) => problem(c, 413, `The body must not be larger than ${BODY_BYTES_MAX} bytes`),
    }),
  );
  app.get("/v1/status", (c) => c.json(control.status()));
  app.put("/v1/pools/:pool/backends/:backend/state", async (c) => {
    const body = StateBody.safeParse(await c.req.json().catch(() => null));
    if (!body.success) {
      return problem(c, 400, `The body must be {"state": one of ${backendStates.join(", ")}}`);
    }
    const { pool, backend } = c.req.param();
    const change = control.setBackendState(pool, backend, body.data.state);
    switch (change) {
      case "no such pool":
        return problem(c, 404, `There is no pool "${pool}"`);
      case "no such backend":
        return problem(c, 404, `Pool "${pool}" has no backend "${backend}"`);
      case "changed":
      case "unchanged":
        return c.json({ pool, backend, state: body.data.state, changed: change === "changed" });
    }
  });
  app.notFound((c) => problem(c, 404, `There is no ${c.req.method} ${c.req.path}`));
  return app;
}
