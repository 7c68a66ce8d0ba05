import assert from "node:assert/strict";
import { test } from "node:test";
import { race } from "./arrivals.ts";
import { contest } from "./contest.ts";
import { arrivalTime, racersOf } from "./racer.ts";
import { mixes, randomFrom, randomPool } from "./random-pools.ts";
import { POSITIONS } from "./tracks.ts";

const SEED = Number(process.env["SEED"] ?? 1);
/** Every 8th position is looked at. */
const STEP = 8;

for (const count of [2, 10, 60, 400]) {
  test(`contest() leaves the first of the race in, ${count} members`, (t) => {
    t.diagnostic(`SEED=${SEED}`);
    for (const mix of mixes) {
      const racers = racersOf(randomPool(count, mix, randomFrom(SEED + count)));
      const sum = racers.reduce((total, { weight }) => total + weight, 0);
      const arrivals = race(racers);
      const all = arrivals.counts.length;
      const shares = Float64Array.from(racers, ({ weight }) => (all * weight) / sum);
      const owners = new Uint16Array(all);
      const counts = new Int32Array(count);
      const { positions, starts, ranks } = contest(racers, arrivals, shares, owners, counts);
      const candidates = new Map<number, Uint16Array>();
      for (const [i, position] of positions.entries()) {
        candidates.set(position, ranks.subarray(starts[i], starts[i + 1]));
      }
      let missing = 0;
      for (let position = 0; position < POSITIONS; position += STEP) {
        let first = racers[0]!;
        for (const racer of racers) {
          if (arrivalTime(racer, position) < arrivalTime(first, position)) first = racer;
        }
        const among = candidates.get(position) ?? [owners[position]!];
        if (!among.includes(first.rank)) missing++;
      }
      // When too many come in one stage of the race, the first may be overlooked: none in 10^6 seen.
      assert.ok(missing <= 1, `${missing} of ${POSITIONS / STEP}, ${mix}, SEED=${SEED}`);
      const settled = counts.reduce((total, owned) => total + owned, 0);
      assert.equal(settled + positions.length, all);
    }
  });
}
