/** `carom agent --config FILE`: runs the agent on a backend until it is told to stop. */
import { Command, Option } from "commander";
import { type LogLevel, logLevels } from "../daemon/log-level.ts";
import { runDaemon } from "./run-daemon.ts";

interface AgentOptions {
  readonly config: string;
  readonly keep?: true;
  readonly logLevel: LogLevel;
}

export const agentCommand = (): Command =>
  new Command("agent")
    .description("run an agent: serve VIPs on a backend")
    .requiredOption("-c, --config <file>", "its configuration")
    .option("-k, --keep", "when it stops, leave everything in place: to restart it")
    .addOption(new Option("--log-level <level>", "least to log").choices(logLevels).default("info"))
    .addHelpText(
      "after",
      `
Puts the VIPs on lo, sets the ARP and rp_filter sysctls they need, and takes the
outer header off what the directors send. SIGTERM and SIGINT end it: it puts the
host back as it was, and the backend stops serving. Killed, it leaves everything
in place and the backend serves on; start it again, or run carom teardown.

Examples:
  carom check /etc/carom/agent.yaml
  carom agent --config /etc/carom/agent.yaml
  carom agent --config /etc/carom/agent.yaml --keep
  curl --unix-socket /run/carom/main/agent.sock http://agent/v1/status`,
    )
    .action(async ({ config: file, keep, logLevel }: AgentOptions) => {
      const [{ readAgentConfig }, { Agent }, { createLogger }] = await Promise.all([
        import("../config/read.ts"),
        import("../daemon/agent.ts"),
        import("../daemon/log.ts"),
      ]);
      const log = createLogger(logLevel);
      await runDaemon(log, async () => {
        const agent = await Agent.start(await readAgentConfig(file), { log });
        return { close: () => (keep === true ? agent.keep() : agent.stop()) };
      });
    });
