/**
 * A process for what blocks: loading programs, swapping them, waiting for grace periods (14 to 84 ms
 * each), which on the main process would stop health checks and BGP. It does one call after the
 * other, in the order they were made.
 *
 * If the process dies, the calls under way fail with KERNEL_PROCESS, whether or not the kernel did
 * what was asked, and the next call starts a new one: it keeps nothing between calls.
 */
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import { entryUrl } from "./entry.ts";
import { fromPlainError, KernelError } from "./errors.ts";
import type {
  Answer,
  AttachTcxOptions,
  AttachXdpOptions,
  CallName,
  Calls,
  LoadedProgram,
  LoadProgramOptions,
  ReplaceProgramOptions,
  Request,
} from "./kernel-process-protocol.ts";
import { cloneable } from "./kernel-process-protocol.ts";

interface Pending {
  readonly action: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** A started process and the calls it has not answered. */
interface Running {
  readonly child: ChildProcess;
  readonly pending: Map<number, Pending>;
  readonly ready: Promise<void>;
}

const MAIN = entryUrl("./kernel-process-main", import.meta.url);

export class KernelProcess {
  #running: Running | null = null;
  #lastId = 0;
  #closed = false;

  /**
   * Starts the process and waits until it takes calls.
   * @throws {KernelError} KERNEL_PROCESS
   */
  static async start(): Promise<KernelProcess> {
    const process = new KernelProcess();
    await process.#ensureRunning().ready;
    return process;
  }

  /** Its process id, null while none runs. */
  get pid(): number | null {
    return this.#running?.child.pid ?? null;
  }

  /**
   * Loads a program and pins it. Its maps must be pinned.
   * @throws {KernelError} as `loadProgram()`, `openMap()` and `replacePin()`, or KERNEL_PROCESS
   */
  loadProgram(options: LoadProgramOptions): Promise<LoadedProgram> {
    const { image } = options;
    return this.#call(`load program "${image.name}"`, "loadProgram", {
      ...options,
      image: cloneable(image),
    });
  }

  /**
   * Attaches a pinned program to a device of this process's network namespace and pins the link.
   * @throws {KernelError} as `attachXdp()` and `pin()`, or KERNEL_PROCESS
   */
  attachXdp(options: AttachXdpOptions): Promise<void> {
    return this.#call(`attach XDP to interface ${options.ifindex}`, "attachXdp", options);
  }

  /**
   * The same for TC programs.
   * @throws {KernelError} as `attachTcx()` and `pin()`, or KERNEL_PROCESS
   */
  attachTcx(options: AttachTcxOptions): Promise<void> {
    return this.#call(`attach TC to interface ${options.ifindex}`, "attachTcx", options);
  }

  /**
   * Swaps the program of a pinned link, at once.
   * @throws {KernelError} as `BpfLink.update()`, or KERNEL_PROCESS
   */
  replaceProgram(options: ReplaceProgramOptions): Promise<void> {
    return this.#call(`replace the program of "${options.linkPin}"`, "replaceProgram", options);
  }

  /**
   * Takes the program of a pinned link off its device and removes the pin.
   * @throws {KernelError} as `openLink()` and `BpfLink.detach()`, or KERNEL_PROCESS
   */
  detach(options: { readonly linkPin: string }): Promise<void> {
    return this.#call(`detach "${options.linkPin}"`, "detach", options);
  }

  /**
   * Waits until every program run that began before has ended.
   * @throws {KernelError} as `waitGracePeriod()`, or KERNEL_PROCESS
   */
  gracePeriod(): Promise<void> {
    return this.#call("wait for a grace period", "gracePeriod", null);
  }

  /** Ends the process and waits until it has ended. Calls under way fail. */
  async close(): Promise<void> {
    this.#closed = true;
    const running = this.#running;
    if (!running) return;
    const { child } = running;
    child.ref();
    const exited =
      child.exitCode === null && child.signalCode === null ? once(child, "exit") : null;
    if (child.connected) child.disconnect();
    await exited;
  }

  async #call<Name extends CallName>(
    action: string,
    call: Name,
    options: Calls[Name]["in"],
  ): Promise<Calls[Name]["out"]> {
    if (this.#closed) throw failure(action, "the kernel process was closed");
    const running = this.#ensureRunning();
    const id = ++this.#lastId;
    const result = new Promise<unknown>((resolve, reject) => {
      running.pending.set(id, { action, resolve, reject });
    });
    hold(running);
    const request: Request<Name> = { id, call, options };
    // When it cannot be sent the process is going, and its end rejects the call.
    running.child.send(request, () => {});
    return (await result) as Calls[Name]["out"];
  }

  #ensureRunning(): Running {
    if (this.#running) return this.#running;
    const child = fork(MAIN, {
      serialization: "advanced",
      // Not ours: flags for the program to run, for a debugger's port.
      execArgv: [],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const ready = new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("error", (error) => reject(startFailure(error.message)));
      child.once("exit", (code, signal) => reject(startFailure(endOf(code, signal))));
    });
    // Whoever awaits it hears of it; for the others their calls fail.
    ready.catch(() => {});
    const running: Running = { child, pending: new Map(), ready };
    child.on("message", (answer: Answer) => settle(running, answer));
    child.on("error", (error) => this.#end(running, error.message));
    child.on("exit", (code, signal) => this.#end(running, endOf(code, signal)));
    this.#running = running;
    return running;
  }

  /** Fails what waits for a process that is gone, and forgets it. */
  #end(running: Running, reason: string): void {
    if (this.#running === running) this.#running = null;
    const calls = [...running.pending.values()];
    running.pending.clear();
    for (const call of calls) {
      const why = `the kernel process is gone, ${reason}; it may or may not be done`;
      call.reject(failure(call.action, why));
    }
  }
}

function settle(running: Running, answer: Answer): void {
  const call = answer.kind === "ready" ? undefined : running.pending.get(answer.id);
  if (answer.kind !== "ready") running.pending.delete(answer.id);
  if (running.pending.size === 0) release(running);
  switch (answer.kind) {
    case "ready":
      return;
    case "result":
      return call?.resolve(answer.value);
    case "fault":
      return call?.reject(fromPlainError(answer.error));
    case "bug":
      return call?.reject(answer.error);
  }
}

// Only calls under way keep this process from ending.
function hold({ child }: Running): void {
  child.ref();
  child.channel?.ref();
}

function release({ child }: Running): void {
  child.unref();
  child.channel?.unref();
}

const endOf = (code: number | null, signal: string | null): string =>
  `it ended with ${signal ?? `status ${code}`}`;

const startFailure = (reason: string): KernelError => failure("start the kernel process", reason);

const failure = (action: string, reason: string): KernelError =>
  new KernelError(`Cannot ${action}: ${reason}`, { code: "KERNEL_PROCESS" });
