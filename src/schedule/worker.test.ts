import assert from "node:assert/strict";
import { test } from "node:test";
import { ScheduleError } from "./schedule-error.ts";
import { buildTable } from "./table.ts";
import { buildTablesInWorker, TableWorker } from "./worker.ts";

const POOL = [1, 2, 3].map((weight, i) => ({ name: `web-${i}`, weight }));
const OTHER = [5, 5].map((weight, i) => ({ name: `api-${i}`, weight }));

test("buildTablesInWorker() gives what buildTable() gives, in the order asked", async () => {
  const plans = await buildTablesInWorker([POOL, OTHER, POOL]);
  assert.deepEqual(plans, [POOL, OTHER, POOL].map(buildTable));
});

test("buildTablesInWorker() gives the same when several threads share the pools", async () => {
  const pools = Array.from({ length: 24 }, (_, i) =>
    Array.from({ length: (7 * i) % 24 }, (_, j) => ({ name: `web-${i}-${j}`, weight: 1 + j })),
  );
  const plans = await buildTablesInWorker(pools);
  assert.deepEqual(plans, pools.map(buildTable));
});

test("buildTablesInWorker() fails when one pool is refused, and gives nothing for no pools", async () => {
  const refused = [{ name: "web-1", weight: 0 }];
  const pools = [...Array.from({ length: 20 }, () => POOL), refused, OTHER];
  await assert.rejects(buildTablesInWorker(pools), { code: "WEIGHT" });
  assert.deepEqual(await buildTablesInWorker([]), []);
});

test("TableWorker carries a refusal over and goes on", async () => {
  await using worker = new TableWorker();
  await assert.rejects(
    worker.build([{ name: "web-1", weight: 0 }]),
    (error) => error instanceof ScheduleError && error.code === "WEIGHT",
  );
  assert.deepEqual(await worker.build(POOL), buildTable(POOL));
});

test("TableWorker fails what is waiting when it is closed, and all after", async () => {
  const worker = new TableWorker();
  const waiting = assert.rejects(worker.build(POOL), { code: "WORKER" });
  await worker.close();
  await waiting;
  await assert.rejects(worker.build(POOL), { code: "WORKER" });
});
