/** `carom teardown`: removes what an instance left on this machine. */
import { Command } from "commander";
import { instanceOption } from "./instance.ts";

export const teardownCommand = (): Command =>
  new Command("teardown")
    .description("remove what an instance left behind")
    .addOption(instanceOption())
    .addHelpText(
      "after",
      `
Detaches its programs, removes its pins, and on a backend takes its VIPs from
lo and puts the sysctls back. Refuses while a daemon of the instance runs.
Prints what it did, a line each. Doing it again does nothing.

Examples:
  carom teardown
  carom teardown --instance blue`,
    )
    .action(async ({ instance }: { readonly instance: string }) => {
      const { StartError } = await import("../daemon/start-error.ts");
      const { teardown } = await import("../daemon/teardown.ts");
      let lines = 0;
      const report = (line: string): void => {
        lines += 1;
        console.log(line);
      };
      try {
        await teardown(instance, { report });
        if (lines === 0) console.log(`Nothing of instance "${instance}" is here`);
      } catch (error) {
        if (!(error instanceof StartError)) throw error;
        for (const problem of error.problems) console.error(`carom: ${problem}`);
        process.exitCode = 1;
      }
    });
