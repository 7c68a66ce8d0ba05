import assert from "node:assert/strict";
import { test } from "node:test";
import { arrivalTime, copyFactor, positionOf, racersOf, visitOf } from "./racer.ts";
import { POSITIONS } from "./tracks.ts";

const RACERS = racersOf(
  Array.from({ length: 50 }, (_, i) => ({ name: `web-${i}`, weight: 1 + (i % 7) })),
);

test("positionOf() visits every position of a track once, and visitOf() is its inverse", () => {
  for (const order of RACERS.flatMap(({ orders }) => orders)) {
    const seen = new Uint8Array(POSITIONS);
    for (let visit = 0; visit < POSITIONS; visit++) {
      const position = positionOf(order, visit);
      seen[position]!++;
      if (visitOf(order, position) !== visit) assert.fail(`visit ${visit} of ${order.m0}`);
    }
    assert.ok(seen.every((count) => count === 1));
  }
});

test("racersOf() ranks by name and keeps where each member was", () => {
  const racers = racersOf(["b", "a", "B"].map((name) => ({ name, weight: 1 })));
  assert.deepEqual(
    racers.map(({ rank, member }) => [rank, member]),
    [
      [0, 2],
      [1, 1],
      [2, 0],
    ],
  );
});

test("arrivalTime() is in proportion to 1 / weight, and nearly the same on every copy", () => {
  const [light] = racersOf([{ name: "web", weight: 1 }]);
  const [heavy] = racersOf([{ name: "web", weight: 4 }]);
  for (let bucket = 0; bucket < POSITIONS; bucket += 97) {
    const time = arrivalTime(light!, bucket);
    assert.equal(arrivalTime(heavy!, bucket), time / 4);
    const copy = arrivalTime(light!, bucket + POSITIONS);
    assert.ok(copy >= time && copy <= time * (1 + 2 ** -31));
  }
  assert.notEqual(copyFactor(RACERS[0]!, 1), copyFactor(RACERS[1]!, 1));
});
