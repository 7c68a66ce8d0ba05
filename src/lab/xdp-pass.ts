/**
 * The smallest XDP program: every packet goes on to the stack. On veth, what a native program sends
 * back (XDP_TX) arrives only if the other end has a native program too (veth_xdp_flush in
 * drivers/net/veth.c); on the switch's ports this is that program.
 */
import type { ProgramImage } from "../bpf/image.ts";
import { ProgramType } from "../bpf/image.ts";

const nothing = new Uint8Array(0);

export const xdpPass: ProgramImage = {
  name: "carom_lab_pass",
  type: ProgramType.BPF_PROG_TYPE_XDP,
  license: "GPL",
  // r0 = 2 (XDP_PASS); exit
  instructions: Uint8Array.of(0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0),
  maps: [],
  btf: nothing,
  funcInfo: nothing,
  lineInfo: nothing,
  lines: [],
};
