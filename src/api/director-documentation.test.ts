/** docs/director.md has every reason and every route. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { directorReasons } from "../datapath/reasons.ts";
import { directorApi } from "./director.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/director.md"), "utf8");

test("docs/director.md has every reason, with its fate, meaning and whether it is normal", () => {
  const [, section = ""] = page.split("\n## Reasons\n");
  const rows = Array.from(
    section.matchAll(/^\| `(\w+)` \| (\w+) \| (.+) \| (yes|no) \|$/gm),
    ([, name, fate, meaning, normal]) => ({ name, fate, meaning, normal: normal === "yes" }),
  );
  assert.deepEqual(
    rows,
    directorReasons.map(({ name, fate, meaning, normal }) => ({ name, fate, meaning, normal })),
  );
});

test("docs/director.md has every route", () => {
  const [, section = ""] = page.split("\n## API\n");
  const rows = Array.from(section.matchAll(/^\| `([A-Z]+ \/\S+)` \|/gm), ([, route]) => route);
  const api = directorApi({
    status: () => assert.fail("nobody asks"),
    setBackendState: () => assert.fail("nobody asks"),
  });
  const routes = api.routes.filter(({ method }) => method !== "ALL");
  assert.deepEqual(
    rows,
    routes.map(({ method, path }) => `${method} ${path}`),
  );
});
