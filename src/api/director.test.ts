import assert from "node:assert/strict";
import { test } from "node:test";
import { directorApi, type StateChange } from "./director.ts";

const api = directorApi({
  status: () => assert.fail("nobody asks"),
  setBackendState: (): StateChange => "changed",
});
const STATE = "/v1/pools/web/backends/web-1/state";

const bodies: readonly (readonly [name: string, body: string, status: number])[] = [
  ["a state", '{"state":"down"}', 200],
  ["a state that is none", '{"state":"gone"}', 400],
  ["more than a state", '{"state":"down","x":1}', 400],
  ["no JSON", "down", 400],
  ["a large body", `{"state":"${"x".repeat(5000)}"}`, 413],
];
for (const [name, body, status] of bodies) {
  test(`PUT of a backend's state answers ${name} with ${status}`, async () => {
    const headers = { "content-length": String(body.length) };
    const response = await api.request(STATE, { method: "PUT", body, headers });
    assert.equal(response.status, status);
    if (status !== 200) {
      assert.equal(response.headers.get("content-type"), "application/problem+json");
    }
  });
}
