/**
 * A program as a generator of packets (BPF_F_TEST_XDP_LIVE_FRAMES, Documentation/bpf/bpf_prog_run.rst):
 * each repetition gets a frame of its own, and what the program says of it is done. XDP_TX sends it out of
 * the device it seems to come from.
 */
import { BpfAttribute, bpf, BpfCommand } from "../src/kernel/bpf-syscall.ts";
import { errnoOf, KernelError } from "../src/kernel/errors.ts";
import { memory, offHeap } from "../src/kernel/libc.ts";

const BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1;
const XDP_MD_SIZE = 24;

/**
 * Runs the program behind `programFd` on `packets` frames like `frame` of device `ifindex`, which must be
 * in the calling thread's network namespace.
 * @throws {KernelError} TEST_RUN
 */
export function runLive(
  programFd: number,
  frame: Uint8Array,
  options: { readonly ifindex: number; readonly packets: number },
): void {
  const context = memory(XDP_MD_SIZE);
  const fields = new DataView(context.buffer);
  // struct xdp_md: data, data_end, data_meta, ingress_ifindex; data_end is the length.
  fields.setUint32(4, frame.length, true);
  fields.setUint32(12, options.ifindex, true);
  const attribute = new BpfAttribute(80)
    .u32(0, programFd)
    .u32(8, frame.length)
    .pointer(16, offHeap(frame))
    .u32(32, options.packets)
    .u32(40, XDP_MD_SIZE)
    .pointer(48, context)
    .u32(64, BPF_F_TEST_XDP_LIVE_FRAMES);
  try {
    bpf(BpfCommand.BPF_PROG_TEST_RUN, attribute);
  } catch (cause) {
    throw new KernelError(
      `Cannot generate packets on device ${options.ifindex}: ${errnoOf(cause)}, live frames need Linux 5.18`,
      { code: "TEST_RUN" },
      { cause },
    );
  }
}
