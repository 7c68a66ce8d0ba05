/**
 * `npm run fuzz:reference -- --packets N --seed S`: the kernel programs against their reference.
 * Prints `N packets, D differences`; ends with 1 when there is one.
 */
import { Command, InvalidArgumentError } from "commander";
import { fuzzDirector } from "../src/apply/director-fuzz-fixture.ts";

const options = new Command("fuzz:reference")
  .description("random configurations and packets through the kernel programs and their reference")
  .option("--packets <number>", "how many", wholeNumber, 200_000)
  .option("--seed <number>", "repeats a run", wholeNumber, Math.floor(Math.random() * 2 ** 32))
  .parse()
  .opts<{ readonly packets: number; readonly seed: number }>();

console.log(`seed ${options.seed}`);
let shown = Date.now();
const { packets, differences, examples, reasons } = await fuzzDirector(options, (done, wrong) => {
  if (Date.now() - shown < 10_000) return;
  shown = Date.now();
  console.log(`${done} packets, ${wrong} differences so far`);
});
for (const [reason, count] of [...reasons].toSorted(([, a], [, b]) => b - a)) {
  console.log(`${String(count).padStart(10)}  ${reason}`);
}
for (const example of examples) console.log(`\n${example}`);
console.log(`${packets} packets, ${differences} differences`);
process.exitCode = differences === 0 ? 0 : 1;

function wholeNumber(text: string): number {
  if (!/^\d{1,12}$/.test(text)) throw new InvalidArgumentError("A whole number is needed.");
  return Number(text);
}
