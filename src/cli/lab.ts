/** `carom lab`: a network of namespaces with a director, agents, backends and a client. */
import { Command, InvalidArgumentError } from "commander";

const SECONDS_MIN = 4;
const SECONDS_MAX = 600;

export const labCommand = (): Command =>
  new Command("lab")
    .description("show carom at work in a network of its own, on this machine")
    .option("-s, --seconds <n>", "how long to send requests", parseSeconds, 10)
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      `
Without a command: builds client, router, director and three backends in network
namespaces, runs the real director and agents, sends requests, takes a backend
down and back, and takes everything down. Needs root. Exit code 0 if everything
held that it promises, else 1.

Examples:
  carom lab
  carom lab --seconds 5 --json`,
    )
    .action(async ({ seconds, json }: { seconds: number; json?: true }) => {
      if (isNotRoot()) return;
      const { demoCommand } = await import("../lab/demo-command.ts");
      await demoCommand({ seconds, json: json === true });
    });

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < SECONDS_MIN || seconds > SECONDS_MAX) {
    throw new InvalidArgumentError(`Between ${SECONDS_MIN} and ${SECONDS_MAX}`);
  }
  return seconds;
}

/** Says so, too. */
function isNotRoot(): boolean {
  if (process.getuid?.() === 0) return false;
  console.error(
    "carom: Cannot build a lab as this user: network namespaces and BPF need root; run it with sudo",
  );
  process.exitCode = 1;
  return true;
}
