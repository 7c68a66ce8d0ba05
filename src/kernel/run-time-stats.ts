/**
 * Time spent in BPF programs, counted by the kernel while somebody asks for it: `runTimeNs` and
 * `runCount` of `programInfo`. Counting costs each run two readings of the clock.
 */
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { call } from "./libc.ts";

// include/uapi/linux/bpf.h, enum bpf_stats_type
const BPF_STATS_RUN_TIME = 0;

export interface RunTimeStats {
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Counts on this machine until closed, or until the process ends however it does.
 * @throws {SystemError} EPERM without CAP_SYS_ADMIN, EINVAL before Linux 5.8
 */
export function countRunTime(): RunTimeStats {
  const attribute = new BpfAttribute(4).u32(0, BPF_STATS_RUN_TIME);
  const fd = bpf(BpfCommand.BPF_ENABLE_STATS, attribute);
  let open = true;
  const close = (): void => {
    if (open) call("close", fd);
    open = false;
  };
  return { close, [Symbol.dispose]: close };
}
