/**
 * Waits until every run of a BPF program that began before has ended: an RCU grace period, since
 * programs run inside rcu_read_lock(). After it nothing reads what was unpublished before it.
 */
import { readFileSync } from "node:fs";
import { MapFlag, MapType } from "../bpf/image.ts";
import type { MapSpec } from "../bpf/image.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { call, SystemError } from "./libc.ts";
import { createMap } from "./maps.ts";
import { countCpuList } from "./possible-cpus.ts";

export type GracePeriodMethod = "membarrier" | "map-in-map";

// arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
const SYS_MEMBARRIER = process.arch === "arm64" ? 283 : 324;
// include/uapi/linux/membarrier.h
const MEMBARRIER_CMD_GLOBAL = 1;

/**
 * Blocks for one grace period, some 10 to 100 ms under load. Not for the main process.
 * @throws {KernelError} GRACE_PERIOD
 */
export function waitGracePeriod(method: GracePeriodMethod = chooseMethod()): void {
  try {
    if (method === "map-in-map") return updateInnerMap();
    call("syscall", SYS_MEMBARRIER, MEMBARRIER_CMD_GLOBAL, null, 0);
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    // EINVAL under nohz_full, ENOSYS without CONFIG_MEMBARRIER, EPERM from a seccomp filter.
    errnoOf(cause);
    updateInnerMap();
  }
}

/**
 * kernel/sched/membarrier.c: MEMBARRIER_CMD_GLOBAL is synchronize_rcu(), but returns at once when
 * one CPU is online, where a preemptible kernel may have a program under way.
 */
export function chooseMethod(
  onlineCpus: string = readFileSync("/sys/devices/system/cpu/online", "latin1"),
): GracePeriodMethod {
  return countCpuList(onlineCpus) > 1 ? "membarrier" : "map-in-map";
}

const INNER: MapSpec = {
  name: "carom_grace",
  type: MapType.BPF_MAP_TYPE_ARRAY,
  keySize: 4,
  valueSize: 4,
  maxEntries: 1,
  flags: MapFlag.BPF_F_INNER_MAP,
  value: null,
};
const OUTER: MapSpec = { ...INNER, type: MapType.BPF_MAP_TYPE_ARRAY_OF_MAPS, flags: 0 };

/**
 * kernel/bpf/syscall.c maybe_wait_bpf_programs(): an update of a map of maps returns when no program
 * can be using the old inner map any more, which is synchronize_rcu() too.
 */
function updateInnerMap(): void {
  using inner = createMap(INNER);
  using outer = createMap(OUTER, { inner });
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, inner.fd, true);
  try {
    outer.update(new Uint8Array(4), value);
  } catch (cause) {
    const errno =
      cause instanceof Error && cause.cause instanceof SystemError ? cause.cause.code : "unknown";
    throw new KernelError(
      `Cannot wait for a grace period: neither membarrier(2) nor a map of maps works (${errno})`,
      { code: "GRACE_PERIOD", errno },
      { cause },
    );
  }
}
