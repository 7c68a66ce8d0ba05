/** A carom daemon inside a node: the real command, its log read until it says that it runs. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { entryUrl } from "../kernel/entry.ts";
import type { LabNode } from "./node.ts";

/** The `carom` command as arguments: this Node, these sources. */
export const CAROM: readonly string[] = [
  process.execPath,
  fileURLToPath(entryUrl("../cli/main", import.meta.url)),
];

const LINES_KEPT = 200;

export class DaemonProcess {
  readonly process: ChildProcess;
  /** Its last lines, of stdout and stderr. */
  readonly lines: string[] = [];

  private constructor(process: ChildProcess) {
    this.process = process;
  }

  /**
   * Runs `carom ARGS` in a node until its log says `event`.
   * @throws {Error} with what it said, when it ends before that
   */
  static async start(
    node: LabNode,
    args: readonly string[],
    event: string,
  ): Promise<DaemonProcess> {
    const child = node.spawn([...CAROM, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const daemon = new DaemonProcess(child);
    const runs = new Promise<"runs">((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        if (stream === null) continue;
        createInterface({ input: stream }).on("line", (line) => {
          daemon.lines.push(line);
          if (daemon.lines.length > LINES_KEPT) daemon.lines.shift();
          if (line.includes(`"${event}"`)) resolve("runs");
        });
      }
    });
    const outcome = await Promise.race([runs, once(child, "close").then(() => "ended" as const)]);
    if (outcome === "ended") {
      throw new Error(
        `Cannot run "carom ${args.join(" ")}" on ${node.name}: it ended with ${String(child.exitCode ?? child.signalCode)}\n${daemon.lines.join("\n")}`,
      );
    }
    return daemon;
  }
}
