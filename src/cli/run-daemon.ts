/** Runs a daemon in the foreground: start, say why not, stop on SIGTERM and SIGINT. */
import { flushCompileCache } from "node:module";
import type { Logger } from "../daemon/log.ts";

interface Running {
  close(): Promise<void>;
}

/**
 * Resolves when the daemon has ended; sets the exit code: 0 stopped, 1 not started, 2 wrong
 * configuration.
 */
export async function runDaemon(log: Logger, start: () => Promise<Running>): Promise<void> {
  const stopped = new Promise<string>((resolve) => {
    // For good: a second Ctrl-C must not end the stopping half-way.
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve(signal));
  });
  let daemon: Running;
  try {
    daemon = await start();
  } catch (error) {
    report(error as Error);
    return;
  }
  // Does something only where NODE_COMPILE_CACHE is set: one that is killed leaves a cache, too.
  flushCompileCache();
  log.info({ signal: await stopped }, "stopping");
  await daemon.close();
}

/** Configuration errors name file and line themselves; the rest gets the command's name in front. */
function report(error: Error): void {
  if (error.name === "ConfigError") {
    console.error(error.message);
    process.exitCode = 2;
    return;
  }
  for (const line of error.message.split("\n")) console.error(`carom: ${line}`);
  process.exitCode = 1;
}
