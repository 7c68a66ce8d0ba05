/** Runs the demo for a person or, with `json`, for a program. Sets the exit code. */
import { constants } from "node:os";
import { readDirectorConfig } from "../config/read.ts";
import { type DemoView, runDemo } from "./demo.ts";
import { formatSeconds } from "./figures.ts";
import { backendsOf, LAB_DIRECTOR_CONFIG } from "./lab.ts";
import { drawNetwork } from "./picture.ts";
import { drawLive, drawSummary } from "./screen.ts";
import { styleFor } from "./style.ts";
import { LiveBlock } from "./terminal.ts";
import { labTopology } from "./topology.ts";

export interface DemoCommandOptions {
  readonly seconds: number;
  readonly json: boolean;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export async function demoCommand({ seconds, json }: DemoCommandOptions): Promise<void> {
  const block = new LiveBlock(process.stdout);
  process.once("exit", () => block.end());
  const stopping = new AbortController();
  for (const signal of SIGNALS) {
    process.once(signal, () => {
      block.end();
      stopping.abort();
      // Processes of the lab die with this one, wherever it hangs.
      const code = 128 + constants.signals[signal];
      setTimeout(() => process.exit(code), 1500).unref();
      process.exitCode = code;
    });
  }
  const style = styleFor(process.stdout.isTTY, process.env);
  const print = (lines: readonly string[]): void => {
    if (!json) process.stdout.write(`${lines.join("\n")}\n`);
  };

  const config = await readDirectorConfig(LAB_DIRECTOR_CONFIG);
  print(["", ...drawNetwork(labTopology(), config, backendsOf(config), style), ""]);
  const view: DemoView = {
    firstAnswer: (afterS, vip, backend) => {
      const after = style.bold(formatSeconds(afterS));
      print([`  first HTTP 200 after ${after}: ${backend} through ${vip}`, ""]);
    },
    figures: (figures) => {
      if (!json && !stopping.signal.aborted) block.draw(drawLive(figures, seconds, style));
    },
  };
  try {
    const result = await runDemo({ seconds, signal: stopping.signal }, view);
    block.end();
    if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    print(["", ...drawSummary(result.promises, style), ""]);
    if (!result.held) process.exitCode = 1;
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    print(["  stopped; everything is taken down"]);
    process.exit();
  } finally {
    block.end();
  }
}
