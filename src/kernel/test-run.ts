/**
 * Runs a loaded program on one packet (BPF_PROG_TEST_RUN, net/bpf/test_run.c), with buffers made
 * once: a run costs a few microseconds.
 */
import { ProgramType } from "../bpf/image.ts";
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { memory, offHeap } from "./libc.ts";

/** Programs that run on packets. What a socket filter sees starts behind the link-layer header. */
type PacketProgramType =
  | typeof ProgramType.BPF_PROG_TYPE_XDP
  | typeof ProgramType.BPF_PROG_TYPE_SCHED_CLS
  | typeof ProgramType.BPF_PROG_TYPE_SOCKET_FILTER;

export interface TestRunOptions {
  /** Bytes of the longest packet that goes in. */
  readonly maxPacket: number;
  /** XDP unless said otherwise. */
  readonly type?: PacketProgramType;
}

export interface RunOptions {
  /** How often the program runs on the packet; each run sees what the last one left. */
  readonly repeat?: number;
  /** The device the packet seems to come from; it must exist in this network namespace. */
  readonly ifindex?: number;
  /** XDP only: the receive queue it came in by. */
  readonly rxQueue?: number;
  /** TC only: the socket mark. */
  readonly mark?: number;
}

export interface RunResult {
  /** What the program returned, as an unsigned 32-bit number. */
  readonly verdict: number;
  /** The packet as the program left it, valid until the next run. */
  readonly packet: Uint8Array;
  /** Mean time of one run; meaningful with a large `repeat`. */
  readonly durationNs: number;
}

// The most a program can put in front of a packet or behind it: XDP_PACKET_HEADROOM, and tail room.
const GROWTH = 512;
const XDP_MD_SIZE = 24;
const SK_BUFF_SIZE = 192;

export class TestRun {
  readonly #attribute = new BpfAttribute(80);
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  readonly #context: Uint8Array;
  readonly #contextView: DataView;
  readonly #type: number;

  constructor(programFd: number, options: TestRunOptions) {
    this.#type = options.type ?? ProgramType.BPF_PROG_TYPE_XDP;
    this.#in = memory(options.maxPacket);
    this.#out = memory(options.maxPacket + GROWTH);
    const isXdp = this.#type === ProgramType.BPF_PROG_TYPE_XDP;
    this.#context = memory(isXdp ? XDP_MD_SIZE : SK_BUFF_SIZE);
    this.#contextView = new DataView(this.#context.buffer, 0, this.#context.length);
    this.#attribute.u32(0, programFd).pointer(16, this.#in).pointer(24, this.#out);
  }

  /**
   * Runs the program on `packet`, which starts with its Ethernet header (14 bytes are the least).
   * @throws {KernelError} TEST_RUN
   */
  run(packet: Uint8Array, options: RunOptions = {}): RunResult {
    if (packet.length > this.#in.length) {
      throw new RangeError(
        `Cannot run the program on a packet of ${packet.length} bytes: maxPacket is ${this.#in.length}`,
      );
    }
    this.#in.set(packet);
    const attribute = this.#attribute
      .u32(4, 0)
      .u32(8, packet.length)
      .u32(12, this.#out.length)
      .u32(32, options.repeat ?? 1)
      .u32(36, 0);
    this.#setContext(packet.length, options);
    try {
      bpf(BpfCommand.BPF_PROG_TEST_RUN, attribute);
    } catch (cause) {
      throw failure(errnoOf(cause), packet.length, options, cause);
    }
    return {
      verdict: attribute.readU32(4),
      packet: this.#out.subarray(0, attribute.readU32(12)),
      durationNs: attribute.readU32(36),
    };
  }

  #setContext(length: number, options: RunOptions): void {
    const { ifindex, rxQueue = 0, mark = 0 } = options;
    if (ifindex === undefined && rxQueue === 0 && mark === 0) {
      this.#attribute.u32(40, 0).u64(48, 0n);
      return;
    }
    const view = this.#contextView;
    if (this.#type === ProgramType.BPF_PROG_TYPE_XDP) {
      // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
      // The kernel wants data_end to be the packet's length.
      view.setUint32(4, length, true);
      view.setUint32(12, ifindex ?? 0, true);
      view.setUint32(16, rxQueue, true);
    } else {
      // struct __sk_buff: mark at 8, ifindex at 40; nearly all else must be zero.
      view.setUint32(8, mark, true);
      view.setUint32(40, ifindex ?? 0, true);
    }
    this.#attribute.u32(40, this.#context.length).pointer(48, this.#context);
  }
}

/**
 * Runs a BPF_PROG_TYPE_SYSCALL program once on `context`, which the program may read and write, and
 * returns what it returned. `context` receives what the program left in it.
 * @throws {KernelError} TEST_RUN
 */
export function runSyscallProgram(programFd: number, context: Uint8Array): number {
  const bytes = offHeap(context);
  const attribute = new BpfAttribute(80).u32(0, programFd);
  if (context.length > 0) attribute.u32(40, bytes.length).pointer(48, bytes);
  try {
    bpf(BpfCommand.BPF_PROG_TEST_RUN, attribute);
  } catch (cause) {
    throw new KernelError(
      `Cannot run the program: ${errnoOf(cause)} with a context of ${context.length} bytes`,
      { code: "TEST_RUN" },
      { cause },
    );
  }
  context.set(bytes);
  return attribute.readU32(4);
}

function failure(errno: string, length: number, options: RunOptions, cause: unknown): KernelError {
  const device =
    options.ifindex === undefined
      ? ""
      : `, or there is no device ${options.ifindex} with a receive queue ${options.rxQueue ?? 0} here`;
  const why =
    errno === "ENOSPC"
      ? "ENOSPC, the program made the packet longer than the buffer, raise maxPacket"
      : errno === "EINVAL" || errno === "ENODEV"
        ? `${errno}, a packet has 14 bytes at least and, without fragments, about 3500 at most${device}`
        : errno;
  return new KernelError(
    `Cannot run the program on a packet of ${length} bytes: ${why}`,
    { code: "TEST_RUN" },
    { cause },
  );
}
