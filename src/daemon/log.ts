/** JSON lines on stdout, one for a state change, never one for a packet. */
import { destination, pino } from "pino";
import type { LogLevel } from "./log-level.ts";

export interface Logger {
  /** Traffic is or will be affected. */
  error(fields: object, event: string): void;
  /** A human should look. */
  warn(fields: object, event: string): void;
  /** State changed. */
  info(fields: object, event: string): void;
  debug(fields: object, event: string): void;
}

/** Writes synchronously: what was logged before a crash is there after it. */
export function createLogger(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ dest: 1, sync: true }),
  );
}
