/** `carom director --config FILE`: runs a director until it is told to stop. */
import { Command, Option } from "commander";
import { type LogLevel, logLevels } from "../daemon/log-level.ts";
import { runDaemon } from "./run-daemon.ts";

export const directorCommand = (): Command =>
  new Command("director")
    .description("run a director: forward packets")
    .requiredOption("-c, --config <file>", "its configuration")
    .addOption(new Option("--log-level <level>", "least to log").choices(logLevels).default("info"))
    .addHelpText(
      "after",
      `
Attaches to its interfaces and forwards until carom teardown: when the daemon
stops, is killed or restarts, packets are forwarded as before.

Examples:
  carom check /etc/carom/carom.yaml
  carom director --config /etc/carom/carom.yaml
  carom teardown                       # after it was stopped: nothing stays`,
    )
    .action(async ({ config: file, logLevel }: { config: string; logLevel: LogLevel }) => {
      const [{ readDirectorConfig }, { Director }, { createLogger }] = await Promise.all([
        import("../config/read.ts"),
        import("../daemon/director.ts"),
        import("../daemon/log.ts"),
      ]);
      const log = createLogger(logLevel);
      await runDaemon(log, async () =>
        Director.start(await readDirectorConfig(file), { log, nowMs: () => performance.now() }),
      );
    });
