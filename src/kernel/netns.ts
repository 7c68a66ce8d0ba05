/**
 * Work inside another network namespace. setns(2) moves the calling thread only, which is the main
 * thread: sockets opened there stay in the namespace, and `/proc/sys/net` shows that namespace's
 * keys. Libuv's pool threads do not follow, so only synchronous work belongs inside.
 */
import { call, SystemError } from "./libc.ts";

const CLONE_NEWNET = 0x40000000;
const O_RDONLY = 0;
const O_CLOEXEC = 0x80000;

/**
 * Runs `work` with the thread in the network namespace at `path` (such as `/proc/PID/ns/net`), and
 * comes back whatever happens.
 * @throws {Error} when the namespace cannot be entered, with the SystemError as cause
 * @throws {TypeError} when `work` is asynchronous
 */
export function inNetns<T>(path: string, work: () => T): T {
  const home = openNetns("/proc/thread-self/ns/net");
  try {
    const target = openNetns(path);
    try {
      enter(target, path);
    } finally {
      call("close", target);
    }
    try {
      const result = work();
      if (result instanceof Promise) {
        throw new TypeError("Cannot await in a network namespace: the work must be synchronous");
      }
      return result;
    } finally {
      enter(home, "the one we came from");
    }
  } finally {
    call("close", home);
  }
}

/**
 * A network namespace with no name and no process: it lives while its descriptor is open, so it ends
 * with this process at the latest. Its `lo` is down.
 */
export class Netns {
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws {Error} without CAP_SYS_ADMIN, with the SystemError as cause */
  static create(): Netns {
    return inNetns("/proc/thread-self/ns/net", () => {
      try {
        call("unshare", CLONE_NEWNET);
      } catch (cause) {
        throw new Error(`Cannot create a network namespace: ${reason(cause)}`, { cause });
      }
      return new Netns(openNetns("/proc/thread-self/ns/net"));
    });
  }

  /** Names it to any process of this machine, such as nsenter(1). */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fd}`;
  }

  /** Runs `work` inside; see `inNetns`. */
  run<T>(work: () => T): T {
    return inNetns(this.path, work);
  }

  close(): void {
    call("close", this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function openNetns(path: string): number {
  try {
    return call("open", path, O_RDONLY | O_CLOEXEC, 0);
  } catch (cause) {
    throw new Error(`Cannot open network namespace "${path}": ${reason(cause)}`, { cause });
  }
}

function enter(fd: number, path: string): void {
  try {
    call("setns", fd, CLONE_NEWNET);
  } catch (cause) {
    throw new Error(`Cannot enter network namespace "${path}": ${reason(cause)}`, { cause });
  }
}

const reason = (cause: unknown): string =>
  cause instanceof SystemError ? cause.code : String(cause);
