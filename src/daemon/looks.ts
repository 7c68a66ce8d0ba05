/**
 * When to look at the host again: soon after the first sign of a change, later and later after looks that
 * failed, one at a time.
 */

/** Events of links and routes come in bursts; one look at the host answers a burst. */
const LOOK_AGAIN_AFTER_MS = 50;
/** After a look that failed, events or not; each failure in a row doubles it. */
const TRY_AGAIN_AFTER_MS = 1000;
const TRY_AGAIN_AFTER_MAX_MS = 60_000;

export interface LooksOptions {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly look: () => Promise<void>;
  /** Told of a look that failed, and when the next one is. */
  readonly onError: (error: Error, againMs: number) => void;
}

export class Looks {
  readonly #options: LooksOptions;
  #closed = false;
  #tryAgainMs = TRY_AGAIN_AFTER_MS;
  #next: { readonly timer: NodeJS.Timeout; readonly dueMs: number } | null = null;
  #looking: Promise<void> = Promise.resolve();

  constructor(options: LooksOptions) {
    this.#options = options;
  }

  /** No look begins before `work` has settled. */
  after(work: Promise<unknown>): void {
    this.#looking = work.then(
      () => {},
      () => {},
    );
  }

  /** Has a look within a moment, or as soon as one is due already. */
  soon(afterMs = LOOK_AGAIN_AFTER_MS): void {
    if (this.#closed) return;
    const dueMs = this.#options.nowMs() + afterMs;
    if (this.#next !== null) {
      if (this.#next.dueMs <= dueMs) return;
      clearTimeout(this.#next.timer);
    }
    const timer = setTimeout(() => {
      this.#next = null;
      this.#looking = this.#looking.then(() => this.#look());
    }, afterMs);
    this.#next = { timer, dueMs };
  }

  /** No look begins from here on. */
  stop(): void {
    this.#closed = true;
    if (this.#next !== null) clearTimeout(this.#next.timer);
    this.#next = null;
  }

  /** Settles when no look is under way. */
  async idle(): Promise<void> {
    await this.#looking;
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#options.look();
      this.#tryAgainMs = TRY_AGAIN_AFTER_MS;
    } catch (error) {
      const againMs = this.#tryAgainMs;
      this.#tryAgainMs = Math.min(againMs * 2, TRY_AGAIN_AFTER_MAX_MS);
      this.#options.onError(error as Error, againMs);
      this.soon(againMs);
    }
  }
}
