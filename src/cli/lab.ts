/** `carom lab`: a network of namespaces with a director, agents, backends and a client. */
import { enableCompileCache } from "node:module";
import { Command, InvalidArgumentError } from "commander";
import type { KeptLab } from "../lab/kept-lab.ts";
import { formatTable } from "./table.ts";

const SECONDS_MIN = 4;
const SECONDS_MAX = 600;

export const labCommand = (): Command => {
  const lab = new Command("lab")
    .description("show carom at work, in a network of its own")
    .option("-s, --seconds <n>", "how long to send requests", parseSeconds, 10)
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      `
Without a command: builds client, router, director and three backends in network
namespaces, runs the real director and agents, sends requests, takes a backend
down and back, and takes everything down. Needs root. Exit code 0 if everything
held that it promises, else 1.

Examples:
  carom lab
  carom lab --seconds 5 --json
  carom lab up
  carom lab shell client -- curl http://203.0.113.200/
  carom lab shell director -- carom status
  carom lab down`,
    )
    .action(async ({ seconds, json }: { seconds: number; json?: true }) => {
      if (!(await isReady("build a lab"))) return;
      const { demoCommand } = await import("../lab/demo-command.ts");
      await demoCommand({ seconds, json: json === true });
    });
  for (const command of [upCommand, downCommand, statusCommand, shellCommand]) {
    lab.addCommand(command());
  }
  return lab;
};

const upCommand = (): Command =>
  new Command("up")
    .description("build the lab and keep it, to look around in it")
    .option("-c, --config <file>", "of the director, instead of the example's")
    .action(async ({ config }: { config?: string }) => {
      if (!(await isReady("build a lab"))) return;
      const { keepLab } = await import("../lab/kept-lab.ts");
      const lab = await keepLab(config);
      console.log(`${describe(lab)}

Look around:
  carom lab shell client -- curl http://${lab.vips[0]}/
  carom lab shell director -- carom status
  carom lab shell backend-1
  carom lab down`);
    });

const downCommand = (): Command =>
  new Command("down").description("take the kept lab down").action(async () => {
    if (!(await isReady("take a lab down"))) return;
    const { endKeptLab } = await import("../lab/kept-lab.ts");
    console.log((await endKeptLab()) ? "the lab is down" : "no lab is up");
  });

const statusCommand = (): Command =>
  new Command("status")
    .description("show the kept lab; exit code 1 when there is none")
    .option("--json", "print JSON")
    .action(async (_options: object, command: Command) => {
      if (!(await isReady("look at a lab"))) return;
      const { keptLab } = await import("../lab/kept-lab.ts");
      const lab = await keptLab();
      // The option may have been taken for the one of `lab` itself.
      const { json } = command.optsWithGlobals<{ json?: true }>();
      if (lab === null) process.exitCode = 1;
      if (json === true) console.log(JSON.stringify(lab, null, 2));
      else console.log(lab === null ? "no lab is up" : describe(lab));
    });

const shellCommand = (): Command =>
  new Command("shell")
    .description("a shell in a node of the kept lab, or a command after --")
    .argument("<node>", "client, router, switch, director, backend-1 to backend-3")
    .argument("[command...]")
    .action(async (name: string, words: readonly string[]) => {
      if (!(await isReady("enter a node"))) return;
      const [{ keptLab }, { runInNode }] = await Promise.all([
        import("../lab/kept-lab.ts"),
        import("../lab/shell.ts"),
      ]);
      const lab = await keptLab();
      const node = lab?.nodes.find((candidate) => candidate.name === name);
      if (node !== undefined) {
        process.exitCode = await runInNode(node, words);
        return;
      }
      console.error(
        lab === null
          ? `carom: Cannot enter "${name}": no lab is up; run carom lab up`
          : `carom: Cannot enter "${name}": the lab has ${lab.nodes.map((one) => one.name).join(", ")}`,
      );
      process.exitCode = 1;
    });

function describe({ state, pid, since, vips, port, nodes }: KeptLab): string {
  const table = formatTable(
    ["node", "pid", "addresses", "runs"],
    nodes.map((node) => [
      node.name,
      String(node.pid),
      node.addresses.slice(0, 2).join(" "),
      node.runs.join(", "),
    ]),
  );
  return `the lab is ${state} since ${since}, pid ${pid}; VIPs ${vips.join(", ")}, TCP port ${port}\n\n${table}`;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < SECONDS_MIN || seconds > SECONDS_MAX) {
    throw new InvalidArgumentError(`Between ${SECONDS_MIN} and ${SECONDS_MAX}.`);
  }
  return seconds;
}

/** Whether this user may do it; says so when not. What it starts then compiles once. */
async function isReady(action: string): Promise<boolean> {
  if (process.getuid?.() !== 0) {
    console.error(
      `carom: Cannot ${action} as this user: network namespaces and BPF need root; run it with sudo`,
    );
    process.exitCode = 1;
    return false;
  }
  const { compileCacheFolder } = await import("../lab/compile-cache.ts");
  const folder = compileCacheFolder();
  if (folder !== null) {
    process.env["NODE_COMPILE_CACHE"] ??= folder;
    enableCompileCache(process.env["NODE_COMPILE_CACHE"]);
  }
  return true;
}
