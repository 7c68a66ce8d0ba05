/**
 * Frames in and out of one interface, past the IP stack (packet(7)): for captures and for sending
 * what no stack would. An XDP program sees incoming frames before this socket does: what it drops,
 * redirects or sends back is not seen here. A VLAN tag that the device or the kernel took out of a
 * frame is not put back.
 */
import { call, memory, offHeap, SystemError, watchReadable } from "./libc.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_STATISTICS = 6;
const PACKET_MR_PROMISC = 1;

const SOCKADDR_LL_SIZE = 20;
/** sll_pkttype, by number. */
const directions = ["host", "broadcast", "multicast", "otherhost", "outgoing"] as const;

// GSO frames may be larger than any MTU.
const FRAME_SIZE_MAX_BYTES = 256 * 1024;
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
const FRAMES_PER_TURN = 256;

/** `outgoing` was sent by this machine; the others arrived, told apart by the destination MAC. */
export type FrameDirection = (typeof directions)[number];

export interface Frame {
  readonly direction: FrameDirection;
  /** From the destination MAC on, without checksum. */
  readonly bytes: Uint8Array;
}

export interface PacketSocketOptions {
  /** Also frames for other MACs, as long as the socket is open. */
  readonly promiscuous?: boolean;
}

/** A socket on one interface of the network namespace it was opened in. */
export class PacketSocket {
  readonly #fd: number;
  readonly #buffer = memory(FRAME_SIZE_MAX_BYTES);
  readonly #sender = memory(SOCKADDR_LL_SIZE);
  readonly #senderSize = memory(4);
  #watch: { close(): void } | undefined;
  #dropped = 0;
  #closed = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws {SystemError} without CAP_NET_RAW, or when there is no such interface (`bind`, ENODEV) */
  static open(ifindex: number, options: PacketSocketOptions = {}): PacketSocket {
    // Protocol 0 receives nothing until bind names the interface.
    const fd = call("socket", AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const socket = new PacketSocket(fd);
    try {
      const size = memory(4);
      new DataView(size.buffer).setInt32(0, RECEIVE_BUFFER_BYTES, true);
      try {
        call("setsockopt", fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4);
      } catch (error) {
        // Needs CAP_NET_ADMIN; the default size does for light captures.
        if (!(error instanceof SystemError) || error.code !== "EPERM") throw error;
      }
      if (options.promiscuous === true) {
        const membership = memory(16);
        const view = new DataView(membership.buffer);
        view.setInt32(0, ifindex, true);
        view.setUint16(4, PACKET_MR_PROMISC, true);
        call("setsockopt", fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership, membership.length);
      }
      const address = memory(SOCKADDR_LL_SIZE);
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_PACKET, true);
      view.setUint16(2, ETH_P_ALL, false);
      view.setInt32(4, ifindex, true);
      call("bind", fd, address, address.length);
    } catch (error) {
      socket.close();
      throw error;
    }
    return socket;
  }

  /** Sends one whole frame. @throws {SystemError} such as ENETDOWN, EMSGSIZE */
  send(frame: Uint8Array): void {
    call("send", this.#fd, offHeap(frame), frame.length, 0);
  }

  /** Takes up to `limit` frames that wait. */
  receive(limit: number = FRAMES_PER_TURN): Frame[] {
    const frames: Frame[] = [];
    while (frames.length < limit) {
      const frame = this.#receiveOne();
      if (frame === undefined) break;
      frames.push(frame);
    }
    return frames;
  }

  /** Calls `onFrame` from the event loop for each frame until closed. At most once per socket. */
  watch(onFrame: (frame: Frame) => void): void {
    if (this.#watch !== undefined) throw new Error("Cannot watch a packet socket twice");
    this.#watch = watchReadable(this.#fd, () => {
      if (this.#closed) return;
      for (const frame of this.receive()) {
        if (this.#closed) return;
        onFrame(frame);
      }
    });
  }

  /** How many frames were lost since opening for want of room. */
  dropped(): number {
    const statistics = memory(8);
    const size = memory(4);
    size[0] = statistics.length;
    call("getsockopt", this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics, size);
    // Reading resets the kernel's count.
    this.#dropped += new DataView(statistics.buffer).getUint32(4, true);
    return this.#dropped;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch?.close();
    call("close", this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #receiveOne(): Frame | undefined {
    this.#senderSize[0] = SOCKADDR_LL_SIZE;
    try {
      const size = call(
        "recvfrom",
        this.#fd,
        this.#buffer,
        this.#buffer.length,
        0,
        this.#sender,
        this.#senderSize,
      );
      const direction = directions[this.#sender[10] ?? 0] ?? "otherhost";
      return { direction, bytes: this.#buffer.slice(0, size) };
    } catch (error) {
      // ENETDOWN: the interface went down; the socket works again when it is up.
      if (error instanceof SystemError && (error.code === "EAGAIN" || error.code === "ENETDOWN")) {
        return undefined;
      }
      throw error;
    }
  }
}
