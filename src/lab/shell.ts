/** A shell or a command in a node of the kept lab. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { CAROM } from "./daemon-process.ts";
import type { KeptNode } from "./kept-lab.ts";

/** `carom` means this one, whatever PATH says; without a command it is a shell. */
export function shellArgv(command: readonly string[], hasBash: boolean): readonly string[] {
  const [name, ...args] = command;
  if (name === undefined) return hasBash ? ["bash", "--norc", "--noprofile"] : ["sh"];
  return name === "carom" ? [...CAROM, ...args] : command;
}

/** Runs it on this terminal and gives its exit code, 128 and the signal's number if one ended it. */
export async function runInNode(node: KeptNode, command: readonly string[]): Promise<number> {
  const argv = shellArgv(command, existsSync("/bin/bash"));
  const namespaces = ["net", "mnt"].map((name) => `/proc/${node.pid}/ns/${name}`);
  const enter = [`--net=${namespaces[0]}`, `--mount=${namespaces[1]}`, `--wdns=${process.cwd()}`];
  // The terminal sends Ctrl-C to both; it is for the one inside.
  for (const signal of ["SIGINT", "SIGQUIT"] as const) process.on(signal, () => {});
  const child = spawn("nsenter", [...enter, "--", ...argv], {
    stdio: "inherit",
    env: {
      ...process.env,
      PS1: `${node.name}:\\w# `,
      // What bash takes for a function of that name.
      "BASH_FUNC_carom%%": `() { ${CAROM.map((part) => `'${part}'`).join(" ")} "$@"; }`,
    },
  });
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}
