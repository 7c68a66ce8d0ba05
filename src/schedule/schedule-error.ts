/** Why a pool cannot have a table. */
export type ScheduleErrorCode = "NAME" | "WEIGHT" | "MEMBER_COUNT" | "TABLE_SIZE" | "WORKER";

/** The one error this module throws for members it refuses, or for a worker that is gone. */
export class ScheduleError extends Error {
  override readonly name = "ScheduleError";
  readonly code: ScheduleErrorCode;

  constructor(code: ScheduleErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
