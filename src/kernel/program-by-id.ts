/** Programs by the kernel's own numbers, as links and dumps name them. Needs CAP_SYS_ADMIN. */
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { call, SystemError } from "./libc.ts";
import { BpfProgram, programInfo } from "./programs.ts";

/**
 * Opens a program; `null` when there is none of that number.
 * @throws {SystemError} EPERM
 */
export function openProgramById(id: number): BpfProgram | null {
  let fd: number;
  try {
    fd = bpf(BpfCommand.BPF_PROG_GET_FD_BY_ID, new BpfAttribute(12).u32(0, id));
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOENT") return null;
    throw error;
  }
  try {
    return new BpfProgram(fd, programInfo(fd).name);
  } catch (error) {
    call("close", fd);
    throw error;
  }
}
