/** Problem details for HTTP (RFC 9457). */
import type { Context } from "hono";

export function problem(c: Context, status: 400 | 404 | 409 | 500, detail: string): Response {
  return c.body(JSON.stringify({ status, detail }), status, {
    "content-type": "application/problem+json",
  });
}
