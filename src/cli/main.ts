#!/usr/bin/env node
/**
 * The `carom` command. Assembles only: each command is a file beside this one that exports
 * `xCommand(): Command`, loads what it needs when it runs, and sets `process.exitCode`.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
 */
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { Command, CommanderError } from "commander";
import { agentCommand } from "./agent.ts";
import { backendCommand } from "./backend.ts";
import { backendSetupCommand } from "./backend-setup.ts";
import { checkCommand } from "./check.ts";
import { directorCommand } from "./director.ts";
import { labCommand } from "./lab.ts";
import { statusCommand } from "./status.ts";
import { teardownCommand } from "./teardown.ts";

const commands: readonly (() => Command)[] = [
  directorCommand,
  agentCommand,
  checkCommand,
  statusCommand,
  backendCommand,
  backendSetupCommand,
  teardownCommand,
  labCommand,
];

async function main(args: readonly string[]): Promise<number> {
  const program = new Command("carom")
    .description("Direct-server-return load balancer for Linux")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .configureOutput({ getOutHelpWidth: () => HELP_COLUMNS, getErrHelpWidth: () => HELP_COLUMNS })
    // The column beside the longest command is narrower than commander likes.
    .configureHelp({ minWidthToWrap: 20 })
    .showHelpAfterError("Run carom --help for what there is")
    .exitOverride();
  for (const command of commands) program.addCommand(command().copyInheritedSettings(program));
  try {
    await program.parseAsync(args, { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has printed its own; it counts wrong usage as 1.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    console.error(`carom: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

const HELP_COLUMNS = 79;

/** From package.json, which lies two folders up from src/cli and dist/cli alike. */
function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}

// Whoever reads may stop, as head(1) does: no fault of ours, and nobody is left to tell. Ends as if by
// SIGPIPE, which Node ignores; what this process started goes with it.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(128 + constants.signals.SIGPIPE);
});

process.exitCode = await main(process.argv.slice(2));
