/**
 * `npm run test:kernels -- [--kernel SERIES]...`: under kernels of Debian's, by default 6.1, the oldest that
 * carom runs on. Every program loads and does byte for byte what it should, and real daemons forward to
 * backends that have native Linux devices and no agent. As root; takes about twenty minutes a kernel.
 */
import { Command } from "commander";
import { debianKernel, installTools } from "./kernels/debian-kernel.ts";
import { runInGuest } from "./kernels/guest.ts";

const options = new Command("test:kernels")
  .description("runs tests under other kernels, in virtual machines")
  .option("-k, --kernel <series...>", "such as 6.1 or 6.12", ["6.1"])
  .option("-c, --command <text>", "a shell command instead of the tests")
  .parse()
  .opts<{ readonly kernel: readonly string[]; readonly command?: string }>();

/** What is slow in a guest is left to `make test`: random programs, tables, the lab's demonstration. */
const parts = ["kernel src/datapath src/apply/fuzz", "guest"];
const TIME_LIMIT_MS = 60 * 60_000;

installTools();
let isWrong = false;
const totals = [0, 0, 0];
for (const series of options.kernel) {
  const kernel = debianKernel(series);
  console.log(`\nLinux ${kernel.release}`);
  const runs = parts.map((part) => `${process.execPath} scripts/test.ts ${part} || code=1`);
  const command = options.command ?? `code=0; ${runs.join("; ")}; exit $code`;
  let said = "";
  const code = await runInGuest(kernel, {
    command: `cd ${process.cwd()}; export TEST_TIME_FACTOR=20 FUZZ_PACKETS=4000; ${command}`,
    timeLimitMs: TIME_LIMIT_MS,
    onOutput: (text) => {
      said += text;
      process.stdout.write(text);
    },
  });
  if (code !== 0) isWrong = true;
  if (code === null) console.error(`Linux ${kernel.release}: the guest ended before the tests`);
  for (const [, ...numbers] of said.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)) {
    numbers.forEach((number, index) => (totals[index] = (totals[index] ?? 0) + Number(number)));
  }
}
const [passed, failed, skipped] = totals;
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = isWrong ? 1 : 0;
