/**
 * `npm run fuzz:reference -- --packets N --seed S`: the kernel programs against their reference.
 * Prints `N packets, D differences`; ends with 1 when there is one.
 */
import { Command, InvalidArgumentError } from "commander";
import { fuzzAgent } from "../src/apply/agent-fuzz-fixture.ts";
import { fuzzDirector } from "../src/apply/director-fuzz-fixture.ts";

const options = new Command("fuzz:reference")
  .description("random configurations and packets through the kernel programs and their reference")
  .option("--packets <number>", "how many", wholeNumber, 200_000)
  .option("--seed <number>", "repeats a run", wholeNumber, Math.floor(Math.random() * 2 ** 32))
  .parse()
  .opts<{ readonly packets: number; readonly seed: number }>();

console.log(`seed ${options.seed}`);
let shown = Date.now();
const progress = (program: string) => (done: number, wrong: number) => {
  if (Date.now() - shown < 10_000) return;
  shown = Date.now();
  console.log(`${program}: ${done} packets, ${wrong} differences so far`);
};
// The director does more to packets: it gets three of four, and the agent's forms share the rest.
const ofAgent = Math.floor(options.packets / 4);
const ofTc = Math.floor(ofAgent / 2);
const runs = {
  director: await fuzzDirector(
    { ...options, packets: options.packets - ofAgent },
    progress("director"),
  ),
  agent: fuzzAgent({ ...options, packets: ofAgent - ofTc }, progress("agent")),
  "agent by TC": fuzzAgent({ ...options, packets: ofTc, form: "tc" }, progress("agent by TC")),
};
for (const [program, { packets, reasons, examples }] of Object.entries(runs)) {
  console.log(`\n${program}, ${packets} packets`);
  for (const [reason, count] of [...reasons].toSorted(([, a], [, b]) => b - a)) {
    console.log(`${String(count).padStart(10)}  ${reason}`);
  }
  for (const example of examples) console.log(`\n${example}`);
}
const all = Object.values(runs);
const packets = all.reduce((sum, run) => sum + run.packets, 0);
const differences = all.reduce((sum, run) => sum + run.differences, 0);
console.log(`\n${packets} packets, ${differences} differences`);
process.exitCode = differences === 0 ? 0 : 1;

function wholeNumber(text: string): number {
  if (!/^\d{1,12}$/.test(text)) throw new InvalidArgumentError("A whole number is needed.");
  return Number(text);
}
