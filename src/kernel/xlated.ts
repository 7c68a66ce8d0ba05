/** A program's instructions as the verifier left them: what `bpftool prog dump xlated` prints. */
import { objectInfo } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { addressOf, memory } from "./libc.ts";

/**
 * The translated instructions, 8 bytes each: map look-ups inlined, dead code gone. A call of a helper
 * need not say which (kernel/bpf/syscall.c, bpf_insn_prepare_dump()).
 * @throws {KernelError} PROG_INFO
 */
export function xlatedInstructions(programFd: number): Uint8Array {
  // struct bpf_prog_info: xlated_prog_len at 20, xlated_prog_insns at 32.
  const info = memory(232);
  const view = new DataView(info.buffer);
  const read = (): void => {
    try {
      objectInfo(programFd, info);
    } catch (cause) {
      throw failure(programFd, errnoOf(cause), cause);
    }
  };
  read();
  const instructions = memory(view.getUint32(20, true));
  info.fill(0);
  view.setUint32(20, instructions.length, true);
  view.setBigUint64(32, addressOf(instructions), true);
  read();
  // bpf_prog_get_info_by_fd() clears the address where it does not fill.
  if (view.getBigUint64(32, true) === 0n) {
    throw failure(programFd, "its constants are blinded, set net.core.bpf_jit_harden to 0");
  }
  return instructions.slice();
}

const failure = (fd: number, why: string, cause?: unknown): KernelError =>
  new KernelError(
    `Cannot read the instructions of the program of file descriptor ${fd}: ${why}`,
    { code: "PROG_INFO" },
    { cause },
  );
