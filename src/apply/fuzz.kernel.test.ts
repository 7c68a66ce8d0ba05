/**
 * Random and damaged packets through the programs, over random configurations, each held against the
 * reference: the verdict, the bytes that leave, and every counter. FUZZ_PACKETS sets how many (default
 * 100 000 a program), FUZZ_SEED repeats a run; `npm run fuzz:reference` runs as many as one likes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { skipOf } from "../datapath/agent/agent-fixture.ts";
import { agentReasons, directorReasons } from "../datapath/reasons.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { fuzzAgent } from "./agent-fuzz-fixture.ts";
import { fuzzDirector } from "./director-fuzz-fixture.ts";

const COUNT = Number(process.env["FUZZ_PACKETS"] ?? 100_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

/** Every reason but those `rare` came up: a fuzz that reaches half of the program proves little. */
function assertReached(
  seen: ReadonlyMap<string, number>,
  reasons: readonly { readonly name: string }[],
  rare: readonly string[],
): void {
  const missing = reasons.filter(({ name }) => !rare.includes(name) && !seen.has(name));
  if (COUNT < 50_000) return;
  const names = missing.map(({ name }) => name);
  assert.deepEqual(names, [], "reasons not reached");
}

test(`the director does what the reference says, ${COUNT} packets from seed ${SEED}`, {
  skip,
}, async (t) => {
  const { differences, examples, reasons } = await fuzzDirector({ packets: COUNT, seed: SEED });
  assert.equal(differences, 0, examples.join("\n\n"));
  t.diagnostic(`director: ${[...reasons].map((pair) => pair.join(" ")).join(", ")}`);
  assertReached(reasons, directorReasons, ["no_headroom"]);
});

for (const form of ["xdp", "tc"] as const) {
  test(`the agent does what the reference says, ${form}, ${COUNT / 2} packets from seed ${SEED}`, {
    skip: skipOf(form),
  }, (t) => {
    const { differences, examples, reasons } = fuzzAgent({ packets: COUNT / 2, seed: SEED, form });
    assert.equal(differences, 0, examples.join("\n\n"));
    t.diagnostic(`agent: ${[...reasons].map((pair) => pair.join(" ")).join(", ")}`);
    assertReached(reasons, agentReasons, [
      "no_room",
      "internal",
      ...(form === "tc" ? ["too_short"] : []),
    ]);
  });
}
