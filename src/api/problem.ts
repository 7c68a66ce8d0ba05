/** Problem details for HTTP (RFC 9457). */
import type { Context } from "hono";

export function problem(
  c: Context,
  status: 400 | 404 | 409 | 413 | 500 | 503,
  detail: string,
  more: object = {},
): Response {
  return c.body(JSON.stringify({ status, detail, ...more }), status, {
    "content-type": "application/problem+json",
  });
}
