/**
 * Pins: names in a BPF file system that keep an object alive without a process, and the way objects
 * get from one process to another.
 */
import { mkdirSync, readdirSync, renameSync, statfsSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { cString } from "./libc.ts";

/** Where systemd mounts it. */
export const BPFFS = "/sys/fs/bpf";

// include/uapi/linux/magic.h
const BPF_FS_MAGIC = 0xcafe4a11;

const attribute = new BpfAttribute(24);

/**
 * Gives the map, program or link behind `fd` the name `path`. Its directory must be there.
 * @throws {KernelError} NO_BPFFS, PIN_EXISTS, PIN
 */
export function pin(fd: number, path: string): void {
  checkPinPath("pin", path);
  const name = cString(path);
  try {
    bpf(BpfCommand.BPF_OBJ_PIN, attribute.clear().pointer(0, name).u32(8, fd));
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "EEXIST") {
      throw new KernelError(
        `Cannot pin to "${path}": the name is taken, remove it or replace it`,
        { code: "PIN_EXISTS" },
        { cause },
      );
    }
    throw new KernelError(
      `Cannot pin to "${path}": ${describePin(errno, path)}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/**
 * Pins as `pin()`, in place of what `path` names now, at once: there is no moment without a pin.
 * @throws {KernelError} NO_BPFFS, PIN
 */
export function replacePin(fd: number, path: string): void {
  const next = `${path}_next`;
  removePin(next);
  pin(fd, next);
  try {
    renameSync(next, path);
  } catch (cause) {
    removePin(next);
    throw new KernelError(
      `Cannot pin to "${path}": ${(cause as Error).message}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/**
 * Opens what is pinned at `path` and returns a new file descriptor.
 * @throws {KernelError} NO_BPFFS, PIN_MISSING, PIN
 */
export function openPin(path: string): number {
  const name = cString(path);
  try {
    return bpf(BpfCommand.BPF_OBJ_GET, attribute.clear().pointer(0, name));
  } catch (cause) {
    const errno = errnoOf(cause);
    checkPinPath("open", path);
    if (errno === "ENOENT") {
      throw new KernelError(
        `Cannot open "${path}": nothing is pinned there`,
        { code: "PIN_MISSING" },
        { cause },
      );
    }
    throw new KernelError(
      `Cannot open "${path}": ${describePin(errno, path)}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/** Removes the name, and says whether it was there. The object lives on while something else holds it. */
export function removePin(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw new KernelError(
      `Cannot remove the pin "${path}": ${(cause as Error).message}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/** Names in a directory of pins, sorted; empty when there is no such directory. */
export function listPins(directory: string): readonly string[] {
  try {
    return readdirSync(directory).toSorted();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new KernelError(
      `Cannot list the pins in "${directory}": ${(cause as Error).message}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/**
 * Makes a directory for pins, with those above it.
 * @throws {KernelError} NO_BPFFS, PIN
 */
export function makePinDirectory(path: string): void {
  checkPinPath("make the directory", path);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new KernelError(
      `Cannot make the directory "${path}": ${(cause as Error).message}`,
      { code: "PIN" },
      { cause },
    );
  }
}

/** Whether `path`, or the nearest directory above it that exists, is on a BPF file system. */
export function isOnBpffs(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    try {
      return statfsSync(at).type === BPF_FS_MAGIC;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if ((code !== "ENOENT" && code !== "EPERM") || at === dirname(at)) return false;
    }
  }
}

function checkPinPath(action: string, path: string): void {
  if (!isOnBpffs(path)) {
    throw new KernelError(
      `Cannot ${action} "${path}": it is not on a BPF file system, mount one with "mount -t bpf bpf ${BPFFS}" or enable systemd's sys-fs-bpf.mount`,
      { code: "NO_BPFFS" },
    );
  }
  const mount = mountOf(path);
  if (path.slice(mount.length).includes(".")) {
    throw new KernelError(
      `Cannot ${action} "${path}": names in a BPF file system have no dots (kernel/bpf/inode.c, bpf_lookup()), choose another name`,
      { code: "PIN" },
    );
  }
}

/** The topmost directory of the BPF file system that `path` is on. */
function mountOf(path: string): string {
  let at = path;
  while (dirname(at) !== at && isOnBpffs(dirname(at))) at = dirname(at);
  return at;
}

function describePin(errno: string, path: string): string {
  switch (errno) {
    case "ENOENT":
      return `the directory "${dirname(path)}" does not exist`;
    case "EPERM":
    case "EACCES":
      return `${errno}, the process may not write there; run as root or give it the directory`;
    case "EINVAL":
      return "EINVAL, that is no map, program or link";
    default:
      return errno;
  }
}
