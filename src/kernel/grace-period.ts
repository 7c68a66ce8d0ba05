/**
 * Waits until every run of a BPF program that began before has ended: an RCU grace period, since
 * programs run inside rcu_read_lock(). After it nothing reads what was unpublished before it.
 *
 * Not by membarrier(2), although MEMBARRIER_CMD_GLOBAL is a synchronize_rcu() too: it fails with
 * EINVAL under nohz_full, and returns at once while one CPU is online (kernel/sched/membarrier.c),
 * where a preemptible kernel may have a program under way.
 */
import { MapFlag, MapType } from "../bpf/image.ts";
import type { MapSpec } from "../bpf/image.ts";
import { KernelError } from "./errors.ts";
import { createMap } from "./maps.ts";

const INNER: MapSpec = {
  name: "grace_inner",
  type: MapType.BPF_MAP_TYPE_ARRAY,
  keySize: 4,
  valueSize: 4,
  maxEntries: 1,
  flags: MapFlag.BPF_F_INNER_MAP,
  value: null,
};
const OUTER: MapSpec = {
  ...INNER,
  name: "grace_outer",
  type: MapType.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  flags: 0,
};

/**
 * Blocks for one grace period, some 10 to 100 ms: not for the main process. Every update of a map of
 * maps waits for the programs that may use the map it took out, even if it is the same
 * (kernel/bpf/syscall.c maybe_wait_bpf_programs()).
 * @throws {KernelError} GRACE_PERIOD, NOT_PERMITTED
 */
export function waitGracePeriod(): void {
  try {
    using inner = createMap(INNER);
    using outer = createMap(OUTER, { inner });
    const value = new Uint8Array(4);
    new DataView(value.buffer).setUint32(0, inner.fd, true);
    outer.update(new Uint8Array(4), value);
  } catch (cause) {
    if (!(cause instanceof KernelError) || cause.code === "NOT_PERMITTED") throw cause;
    throw new KernelError(
      `Cannot wait for a grace period: ${cause.message}`,
      { code: "GRACE_PERIOD", errno: cause.errno },
      { cause },
    );
  }
}
