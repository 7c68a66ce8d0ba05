/**
 * Where the demo is shown: a terminal gets a block that is redrawn in place, anything else gets a
 * block every two seconds without escape codes.
 */
import type { WriteStream } from "node:tty";

const PLAIN_EVERY_MS = 2000;
/** Blocks come in even intervals, nearly. */
const SLACK_MS = 100;
const COLUMNS_NEEDED = 80;

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const ERASE_TO_END = "\x1b[J";
const ERASE_LINE_REST = "\x1b[K";

export class LiveBlock {
  readonly #out: WriteStream;
  #height = 0;
  #plainMs = -PLAIN_EVERY_MS;
  /** The last lines, not written yet. */
  #waiting: readonly string[] | null = null;

  constructor(out: WriteStream) {
    this.#out = out;
  }

  /** `lines` replace those drawn before, where that is possible. */
  draw(lines: readonly string[]): void {
    if (!this.#canRedraw(lines.length)) {
      const nowMs = performance.now();
      this.#waiting = lines;
      if (nowMs - this.#plainMs < PLAIN_EVERY_MS - SLACK_MS) return;
      this.#plainMs = nowMs;
      this.#writePlain();
      return;
    }
    const up = this.#height === 0 ? HIDE_CURSOR : `\x1b[${this.#height}A`;
    this.#out.write(
      up + lines.map((line) => `${line}${ERASE_LINE_REST}\n`).join("") + ERASE_TO_END,
    );
    this.#height = lines.length;
  }

  /** Leaves the last block where it is; what follows comes below. */
  end(): void {
    this.#writePlain();
    if (this.#height > 0) this.#out.write(SHOW_CURSOR);
    this.#height = 0;
  }

  #writePlain(): void {
    if (this.#waiting !== null) this.#out.write(`${this.#waiting.join("\n")}\n\n`);
    this.#waiting = null;
  }

  #canRedraw(height: number): boolean {
    return (
      this.#out.isTTY &&
      process.env["TERM"] !== "dumb" &&
      this.#out.columns >= COLUMNS_NEEDED &&
      this.#out.rows > height
    );
  }
}
