/**
 * A machine of the lab: a process that holds a network and a mount namespace, with a BPF file system,
 * a sysfs and a /run of its own. Nothing of it has a name outside: when the process dies, links, pins and
 * mounts vanish with it, and it dies with the lab (PR_SET_PDEATHSIG, and its stdin ends), however
 * the lab ends.
 */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { inNetns } from "../kernel/netns.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import type { NodeSpec } from "./topology.ts";

/** A command that holds the node instead of an idle process. */
export interface Holder {
  /**
   * Runs before interfaces exist: it should listen on all addresses. It should end when its stdin
   * does, and dies with the lab anyway.
   */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For stdout and stderr; `inherit` by default. */
  readonly output?: "pipe" | "inherit" | "ignore";
}

// A parent that dies before setpriv has run sends no signal; then cat reads the end of stdin.
const IDLE = ["cat"];

// Sysfs shows the network namespace it was mounted in. Descriptor 3 tells that all is in place.
const SET_UP = `
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys &&
mount -t bpf -o nosuid,nodev,noexec bpf /sys/fs/bpf &&
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run &&
echo ready >&3 && exec 3>&- && exec "$@"`;

// In sessions of their own (`detached`): a terminal's Ctrl-C is for the lab, which then ends them.
const DIES_WITH_PARENT = ["--pdeathsig", "KILL"];

export class LabNode {
  readonly spec: NodeSpec;
  /** The process that holds the namespaces. */
  readonly process: ChildProcess;
  readonly pid: number;
  /** Of the network namespace, for `inNetns` and nsenter(1). */
  readonly netns: string;
  readonly #holder: Holder;
  readonly #commands = new Set<ChildProcess>();
  #rtnetlink: Rtnetlink | undefined;

  private constructor(spec: NodeSpec, holder: Holder, child: ChildProcess, pid: number) {
    this.spec = spec;
    this.#holder = holder;
    this.process = child;
    this.pid = pid;
    this.netns = `/proc/${pid}/ns/net`;
  }

  /**
   * Starts the holder and waits until its namespaces and mounts are in place.
   * @throws {Error} when it ends before that, as it does without privileges
   */
  static async start(spec: NodeSpec, holder: Holder = { argv: IDLE }): Promise<LabNode> {
    const unshare = ["unshare", "--net", "--mount", "--propagation", "private"];
    const argv = [...DIES_WITH_PARENT, ...unshare, "sh", "-c", SET_UP, spec.name, ...holder.argv];
    const output = holder.output ?? "inherit";
    const child = spawn("setpriv", argv, {
      stdio: ["pipe", output, output, "pipe"],
      detached: true,
      env: { ...process.env, ...holder.env },
    });
    const [ready] = child.stdio.slice(3) as [Readable];
    const outcome = await Promise.race([
      once(ready, "data").then(() => "ready" as const),
      once(child, "exit").then(
        ([code, signal]) => `it ended with ${String(code ?? signal)}`,
        (error: unknown) => String(error),
      ),
    ]);
    ready.destroy();
    if (outcome !== "ready" || child.pid === undefined) {
      throw new Error(failure(spec, holder, outcome));
    }
    return new LabNode(spec, holder, child, child.pid);
  }

  get name(): string {
    return this.spec.name;
  }

  /** The sentence for a holder that `outcome` says did not last. */
  failure(outcome: string): string {
    return failure(this.spec, this.#holder, outcome);
  }

  /** A path as processes of this node see it, such as a pin under /sys/fs/bpf, for use from outside. */
  path(inside: string): string {
    return `/proc/${this.pid}/root${inside}`;
  }

  /** A socket inside, one for all callers; closed with the node. */
  rtnetlink(): Rtnetlink {
    this.#rtnetlink ??= this.exec(() => Rtnetlink.open());
    return this.#rtnetlink;
  }

  /** Runs synchronous work of this process in the node's network namespace (not its mounts). */
  exec<T>(work: () => T): T {
    return inNetns(this.netns, work);
  }

  /**
   * Starts a command inside. It is killed when the node stops and when this process dies; what it
   * starts itself is its own to end. Without `cwd` it starts in this process's directory.
   */
  spawn(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const { cwd = process.cwd(), ...rest } = options;
    const enter = [
      "nsenter",
      `--net=${this.netns}`,
      `--mount=/proc/${this.pid}/ns/mnt`,
      `--wdns=${String(cwd)}`,
      "--",
    ];
    const command = spawn("setpriv", [...DIES_WITH_PARENT, ...enter, ...argv], {
      ...rest,
      detached: true,
    });
    this.#commands.add(command);
    command.once("close", () => this.#commands.delete(command));
    return command;
  }

  /** Kills the holder and all commands, and waits until they are gone. */
  async stop(): Promise<void> {
    this.#rtnetlink?.close();
    this.#rtnetlink = undefined;
    await Promise.all([...this.#commands, this.process].map(kill));
  }
}

const failure = ({ name }: NodeSpec, { argv }: Holder, outcome: string): string =>
  `Cannot hold node "${name}" with "${argv.join(" ")}": ${outcome}`;

async function kill(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}
