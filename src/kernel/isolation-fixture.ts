/**
 * Moves this process into a network and a mount namespace of its own, with a BPF file system at
 * `BPFFS`. What is made inside (devices, pins, mounts) is gone when the last process in it ends,
 * however it ends. Only the calling thread moves, and the children it starts: file access must be
 * synchronous (Node's pool threads stay behind).
 */
import { call } from "./libc.ts";
import { BPFFS } from "./pins.ts";

const CLONE_NEWNS = 0x00020000;
const CLONE_NEWNET = 0x40000000;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;

/** @throws {SystemError} EPERM without CAP_SYS_ADMIN */
export function isolate(): void {
  call("unshare", CLONE_NEWNS | CLONE_NEWNET);
  call("mount", "none", "/", null, MS_REC | MS_PRIVATE, null);
  call("mount", "bpf", BPFFS, "bpf", 0, null);
}
