/**
 * Links: what ties a program to a device. A link swaps its program at once and without losing a
 * packet, and lives exactly as long as a file descriptor or a pin of it.
 */
import { BpfAttribute, bpf, BpfCommand, objectInfo } from "./bpf-syscall.ts";
import { deviceName, findDeviceName } from "./device-name.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { call, memory } from "./libc.ts";
import { notPermitted } from "./not-permitted.ts";
import { openPin } from "./pins.ts";
import { attachedXdp } from "./xdp-attached.ts";

/** `enum bpf_attach_type`, include/uapi/linux/bpf.h. */
export const AttachType = { BPF_XDP: 37, BPF_TCX_INGRESS: 46, BPF_TCX_EGRESS: 47 } as const;
export type AttachType = (typeof AttachType)[keyof typeof AttachType];

export type XdpMode = "native" | "generic";
export type TcxDirection = "ingress" | "egress";

// include/uapi/linux/if_link.h
const XDP_FLAGS: Readonly<Record<XdpMode, number>> = { generic: 1 << 1, native: 1 << 2 };
const BPF_F_REPLACE = 1 << 2;

export class BpfLink {
  readonly fd: number;
  #open = true;

  /** Takes over `fd`. */
  constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Swaps the program. With `expectedFd` only if the link still runs that program. Blocks for a
   * grace period or two while the driver takes it.
   * @throws {KernelError} LINK_CHANGED, LINK_UPDATE
   */
  update(programFd: number, expectedFd?: number): void {
    const attribute = new BpfAttribute(16).u32(0, this.fd).u32(4, programFd);
    if (expectedFd !== undefined) attribute.u32(8, BPF_F_REPLACE).u32(12, expectedFd);
    try {
      bpf(BpfCommand.BPF_LINK_UPDATE, attribute);
    } catch (cause) {
      throw this.#updateFailure(cause, expectedFd !== undefined);
    }
  }

  /**
   * Takes the program off the device although pins or other processes hold the link.
   * @throws {KernelError} LINK_UPDATE
   */
  detach(): void {
    try {
      bpf(BpfCommand.BPF_LINK_DETACH, new BpfAttribute(4).u32(0, this.fd));
    } catch (cause) {
      throw new KernelError(
        `Cannot detach the link: ${errnoOf(cause)}`,
        { code: "LINK_UPDATE" },
        { cause },
      );
    }
  }

  /** @throws {KernelError} LINK_INFO */
  info(): LinkInfo {
    return linkInfo(this.fd);
  }

  /** Closes the file descriptor; without a pin the program leaves the device. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    call("close", this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #updateFailure(cause: unknown, conditional: boolean): KernelError {
    const errno = errnoOf(cause);
    // net/core/dev.c bpf_xdp_link_update(), kernel/bpf/tcx.c tcx_link_update(): EPERM for another
    // program than expected, ENOLINK when the device went away under the link.
    if (errno === "EPERM" && conditional) {
      const { programId, ifindex } = this.info();
      return new KernelError(
        `Cannot replace the program on ${deviceName(ifindex)}: it now runs program id ${programId}, not the one expected; another controller changed it`,
        { code: "LINK_CHANGED" },
        { cause },
      );
    }
    const why =
      errno === "ENOLINK"
        ? "its device is gone, attach to the new one"
        : errno === "EINVAL"
          ? "EINVAL, the new program is of another type or attach type"
          : errno;
    return new KernelError(
      `Cannot replace the program of the link: ${why}`,
      { code: "LINK_UPDATE" },
      { cause },
    );
  }
}

/**
 * Attaches an XDP program to a device of the calling thread's network namespace.
 * @throws {KernelError} LINK_BUSY, LINK_CREATE, NOT_PERMITTED
 */
export function attachXdp(options: {
  readonly programFd: number;
  readonly ifindex: number;
  readonly mode: XdpMode;
}): BpfLink {
  const { programFd, ifindex, mode } = options;
  try {
    return createLink(programFd, ifindex, AttachType.BPF_XDP, XDP_FLAGS[mode]);
  } catch (cause) {
    throw xdpFailure(ifindex, mode, cause);
  }
}

/**
 * Attaches a TC program with TCX (kernel >= 6.6), after those already there.
 * @throws {KernelError} LINK_CREATE, NOT_PERMITTED
 */
export function attachTcx(options: {
  readonly programFd: number;
  readonly ifindex: number;
  readonly direction: TcxDirection;
}): BpfLink {
  const { programFd, ifindex, direction } = options;
  const type = direction === "ingress" ? AttachType.BPF_TCX_INGRESS : AttachType.BPF_TCX_EGRESS;
  try {
    return createLink(programFd, ifindex, type, 0);
  } catch (cause) {
    const errno = errnoOf(cause);
    const action = `attach to ${direction} of ${deviceName(ifindex)}`;
    if (errno === "EPERM") throw notPermitted(action, cause);
    const why =
      findDeviceName(ifindex) === null
        ? NO_DEVICE
        : errno === "EINVAL"
          ? "EINVAL, TCX needs kernel >= 6.6 and a program of type SCHED_CLS"
          : errno === "EEXIST"
            ? "EEXIST, this very program is attached there already"
            : errno;
    throw new KernelError(`Cannot ${action}: ${why}`, { code: "LINK_CREATE" }, { cause });
  }
}

/**
 * Opens a pinned link.
 * @throws {KernelError} PIN_MISSING, PIN, NO_BPFFS
 */
export const openLink = (path: string): BpfLink => new BpfLink(openPin(path));

export interface LinkInfo {
  readonly id: number;
  readonly programId: number;
  /** 0 once the device is gone or the link detached. */
  readonly ifindex: number;
  readonly attachType: AttachType | null;
}

// enum bpf_link_type
const BPF_LINK_TYPE_XDP = 6;
const BPF_LINK_TYPE_TCX = 11;

/**
 * Reads `struct bpf_link_info`.
 * @throws {KernelError} LINK_INFO
 */
export function linkInfo(fd: number): LinkInfo {
  const info = memory(64);
  try {
    objectInfo(fd, info);
  } catch (cause) {
    throw new KernelError(
      `Cannot read what link of file descriptor ${fd} is: ${errnoOf(cause)}`,
      { code: "LINK_INFO" },
      { cause },
    );
  }
  const view = new DataView(info.buffer);
  const type = view.getUint32(0, true);
  const known = type === BPF_LINK_TYPE_XDP || type === BPF_LINK_TYPE_TCX;
  return {
    id: view.getUint32(4, true),
    programId: view.getUint32(8, true),
    ifindex: known ? view.getUint32(16, true) : 0,
    attachType:
      type === BPF_LINK_TYPE_XDP
        ? AttachType.BPF_XDP
        : type === BPF_LINK_TYPE_TCX
          ? (view.getUint32(20, true) as AttachType)
          : null,
  };
}

const NO_DEVICE = "there is no such device in this network namespace";

function createLink(programFd: number, ifindex: number, type: AttachType, flags: number): BpfLink {
  const attribute = new BpfAttribute(48)
    .u32(0, programFd)
    .u32(4, ifindex)
    .u32(8, type)
    .u32(12, flags);
  return new BpfLink(bpf(BpfCommand.BPF_LINK_CREATE, attribute));
}

function xdpFailure(ifindex: number, mode: XdpMode, cause: unknown): KernelError {
  const errno = errnoOf(cause);
  const device = deviceName(ifindex);
  const action = `attach ${mode} XDP to ${device}`;
  switch (errno) {
    case "EPERM":
      return notPermitted(action, cause);
    case "EBUSY":
    case "EEXIST":
      return new KernelError(
        `Cannot ${action}: ${describeAttached(ifindex, device)}`,
        { code: "LINK_BUSY" },
        { cause },
      );
    default:
      return new KernelError(
        `Cannot ${action}: ${findDeviceName(ifindex) === null ? NO_DEVICE : describeRefusal(errno, mode)}`,
        { code: "LINK_CREATE" },
        { cause },
      );
  }
}

function describeAttached(ifindex: number, device: string): string {
  const attached = attachedXdp(ifindex);
  if (attached === null) return "the device or its driver is busy, try again";
  const name = attached.name === null ? "" : ` ("${attached.name}")`;
  const off =
    attached.mode === "generic" ? "xdpgeneric" : attached.mode === "native" ? "xdpdrv" : "xdp";
  return `it already has a ${attached.mode ?? ""} XDP program, id ${attached.programId}${name}; remove it with "ip link set dev ${device} ${off} off", or, if a link holds it, end its owner or remove the link's pin`.replace(
    "  ",
    " ",
  );
}

function describeRefusal(errno: string, mode: XdpMode): string {
  switch (errno) {
    case "EOPNOTSUPP":
      return mode === "native"
        ? "EOPNOTSUPP, its driver has no native XDP, use generic mode"
        : "EOPNOTSUPP, the device takes no XDP program";
    case "ERANGE":
      return "ERANGE, its MTU is too large for native XDP without fragments; lower the MTU (about 3500 on pages of 4096 bytes) or load the program for fragments";
    case "EINVAL":
      return "EINVAL, the program is not of type XDP, or the driver refuses its present settings (queues, LRO, MTU)";
    case "ENOMEM":
    case "ENOSPC":
      return `${errno}, the driver lacks queues or memory for XDP, reduce its queues with "ethtool -L"`;
    default:
      return errno;
  }
}
