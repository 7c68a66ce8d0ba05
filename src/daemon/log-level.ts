/** How much is logged. Apart from `log.ts`, so that commands know the words without loading the logger. */
export const logLevels = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof logLevels)[number];
