/** `carom check FILE`: everything that is wrong with a configuration, before it is used. */
import { Command } from "commander";

export const checkCommand = (): Command =>
  new Command("check")
    .description("say what is wrong with a configuration file")
    .argument("<file>", "of a director or an agent")
    .addHelpText(
      "after",
      "\nPrints file:line:column of each fault. Exit code 0 if there is none, else 2.",
    )
    .action(async (file: string) => {
      const { checkConfig, formatIssue } = await import("../config/read.ts");
      const issues = await checkConfig(file);
      for (const issue of issues) console.error(formatIssue(issue));
      if (issues.length > 0) process.exitCode = 2;
    });
