/**
 * Kernel settings under /proc/sys. Keys of `net.` belong to the network namespace of the thread, so
 * within `inNetns` they are those of that namespace.
 */
import { readFileSync, writeFileSync } from "node:fs";

/**
 * A key is its path's parts: `["net", "ipv4", "conf", "eth0.10", "rp_filter"]`. Parts and not text
 * with dots, since interface names may contain dots.
 */
export type SysctlKey = readonly string[];

/** A value without its final newline. `undefined` when the kernel has no such key. @throws {Error} when it cannot be read */
export function readSysctl(key: SysctlKey): string | undefined {
  try {
    return readFileSync(sysctlPath(key), "utf8").trimEnd();
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw new Error(`Cannot read sysctl "${formatSysctl(key)}": ${codeOf(cause)}`, { cause });
  }
}

/** @throws {Error} when there is no such key or the kernel refuses the value */
export function writeSysctl(key: SysctlKey, value: string): void {
  try {
    // No O_CREAT: /proc refuses it with a misleading EACCES when the key is missing.
    writeFileSync(sysctlPath(key), `${value}\n`, { flag: "r+" });
  } catch (cause) {
    throw new Error(`Cannot set sysctl "${formatSysctl(key)}" to "${value}": ${codeOf(cause)}`, {
      cause,
    });
  }
}

/** @throws {TypeError} when a part could leave /proc/sys */
export function sysctlPath(key: SysctlKey): string {
  for (const part of key) {
    if (part === "" || part === "." || part === ".." || part.includes("/") || part.includes("\0")) {
      throw new TypeError(`Not a part of a sysctl key: "${part}"`);
    }
  }
  return `/proc/sys/${key.join("/")}`;
}

/** The key as sysctl(8) takes it: joined by dots, dots inside a part as slashes. */
export const formatSysctl = (key: SysctlKey): string =>
  key.map((part) => part.replaceAll(".", "/")).join(".");

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
