/** Which XDP program a device runs, whoever attached it: for messages about a busy device. */
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { call, SystemError } from "./libc.ts";
import { Netlink, NetlinkError } from "./netlink.ts";
import { programInfo } from "./programs.ts";
import type { XdpAttachMode } from "./rtnetlink-links.ts";
import { decodeLink, encodeLinkReference, RTM_GETLINK } from "./rtnetlink-links.ts";

export interface AttachedXdp {
  readonly mode: XdpAttachMode;
  readonly programId: number;
  /** Null when it cannot be read: that takes CAP_SYS_ADMIN. */
  readonly name: string | null;
}

/** The program on `ifindex` of the calling thread's network namespace, null when there is none. */
export function attachedXdp(ifindex: number): AttachedXdp | null {
  using netlink = Netlink.open();
  try {
    const { payload } = netlink.get({
      intent: `read interface ${ifindex}`,
      type: RTM_GETLINK,
      payload: encodeLinkReference(ifindex),
    });
    const [attached] = decodeLink(payload).xdp;
    return attached ? { ...attached, name: programName(attached.programId) } : null;
  } catch (error) {
    if (error instanceof NetlinkError) return null;
    throw error;
  }
}

function programName(id: number): string | null {
  let fd: number;
  try {
    fd = bpf(BpfCommand.BPF_PROG_GET_FD_BY_ID, new BpfAttribute(12).u32(0, id));
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
  try {
    return programInfo(fd).name;
  } finally {
    call("close", fd);
  }
}
