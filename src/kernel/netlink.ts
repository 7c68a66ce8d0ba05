/**
 * A netlink socket: requests with their answers, and events. The kernel handles a rtnetlink request
 * inside send(2), so its answer already waits when send returns and nothing here ever sleeps; a dump
 * goes on each time a part of it is received (net/netlink/af_netlink.c).
 *
 * Answers are not checked for their sender: only the kernel and processes with CAP_NET_ADMIN can
 * send to a NETLINK_ROUTE socket.
 */
import { call, memory, offHeap, SystemError } from "./libc.ts";
import type { NetlinkMessage } from "./netlink-message.ts";
import {
  decodeAcknowledgement,
  decodeMessages,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./netlink-message.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const NETLINK_ROUTE = 0;

const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const MSG_PEEK = 2;
const MSG_TRUNC = 0x20;

// Dumps come in parts of at most 32 KiB once the kernel has seen a buffer that large.
const RECEIVE_SIZE_BYTES = 64 * 1024;
const DUMP_ATTEMPTS = 8;

/** The kernel refused a request. `code` is the errno's name; `explanation` is the kernel's own text. */
export class NetlinkError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly explanation: string | null;

  constructor(intent: string, errno: number, explanation: string | null) {
    const cause = new SystemError("netlink", errno);
    super(`Cannot ${intent}: ${cause.code}${explanation === null ? "" : ` (${explanation})`}`, {
      cause,
    });
    this.name = "NetlinkError";
    this.code = cause.code;
    this.errno = errno;
    this.explanation = explanation;
  }
}

/** What to ask. `intent` completes "Cannot …" when the kernel refuses. */
export interface NetlinkRequest {
  readonly intent: string;
  readonly type: number;
  readonly payload: Uint8Array;
  readonly flags?: number;
}

/** What waits on an event socket; `lost` says that events were dropped, so that state must be read anew. */
export interface NetlinkBatch {
  readonly messages: readonly NetlinkMessage[];
  readonly lost: boolean;
}

export interface NetlinkOptions {
  /** Multicast groups (RTNLGRP_…) to join, for an event socket. */
  readonly groups?: readonly number[];
  /** Room for events not yet read; beyond the system's limit with CAP_NET_ADMIN. */
  readonly receiveBufferBytes?: number;
}

/** A NETLINK_ROUTE socket of the network namespace it was opened in. */
export class Netlink {
  readonly fd: number;
  #sequence = 0;
  #buffer = memory(RECEIVE_SIZE_BYTES);

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws {SystemError} when there is no socket to be had or a group cannot be joined */
  static open(options: NetlinkOptions = {}): Netlink {
    const kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const netlink = new Netlink(call("socket", AF_NETLINK, kind, NETLINK_ROUTE));
    try {
      const address = memory(12);
      address[0] = AF_NETLINK;
      call("bind", netlink.fd, address, address.length);
      netlink.#prefer(SOL_NETLINK, NETLINK_EXT_ACK, 1);
      netlink.#prefer(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
      if (options.receiveBufferBytes !== undefined) {
        netlink.#prefer(SOL_SOCKET, SO_RCVBUFFORCE, options.receiveBufferBytes);
      }
      for (const group of options.groups ?? []) {
        call("setsockopt", netlink.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, int(group), 4);
      }
    } catch (error) {
      netlink.close();
      throw error;
    }
    return netlink;
  }

  close(): void {
    call("close", this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Asks for a change and waits for the acknowledgement.
   * @throws {NetlinkError} when the kernel refuses
   */
  change(request: NetlinkRequest): void {
    this.#exchange(request, NLM_F_REQUEST | NLM_F_ACK);
  }

  /**
   * Asks for one object.
   * @throws {NetlinkError} when the kernel refuses, also when there is no such object
   */
  get(request: NetlinkRequest): NetlinkMessage {
    const { messages } = this.#exchange(request, NLM_F_REQUEST | NLM_F_ACK);
    const [message] = messages;
    if (message === undefined) throw new Error(`Cannot ${request.intent}: the kernel sent nothing`);
    return message;
  }

  /**
   * Asks for all objects of a kind. Reads again when the list changed meanwhile (NLM_F_DUMP_INTR).
   * @throws {NetlinkError} when the kernel refuses, or the list changes each time it is read
   */
  dump(request: NetlinkRequest): NetlinkMessage[] {
    for (let attempt = 1; attempt <= DUMP_ATTEMPTS; attempt++) {
      const { messages, interrupted } = this.#exchange(request, NLM_F_REQUEST | NLM_F_DUMP);
      if (!interrupted) return messages;
    }
    throw new NetlinkError(request.intent, EINTR, `changed during ${DUMP_ATTEMPTS} readings`);
  }

  /** Takes up to `limit` datagrams that wait on an event socket. */
  receiveEvents(limit: number): NetlinkBatch {
    const messages: NetlinkMessage[] = [];
    let lost = false;
    for (let count = 0; count < limit; count++) {
      try {
        const datagram = this.#receive();
        if (datagram === undefined) break;
        messages.push(...decodeMessages(datagram));
      } catch (error) {
        if (!(error instanceof SystemError) || error.code !== "ENOBUFS") throw error;
        lost = true;
      }
    }
    return { messages, lost };
  }

  #exchange(
    request: NetlinkRequest,
    flags: number,
  ): { readonly messages: NetlinkMessage[]; readonly interrupted: boolean } {
    const { intent, type, payload } = request;
    this.#sequence = (this.#sequence + 1) >>> 0;
    const sequence = this.#sequence;
    const bytes = encodeMessage({ type, flags: flags | (request.flags ?? 0), sequence, payload });
    call("send", this.fd, offHeap(bytes), bytes.length, 0);

    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      const datagram = this.#receive();
      if (datagram === undefined) throw new Error(`Cannot ${intent}: the kernel did not answer`);
      for (const message of decodeMessages(datagram)) {
        if (message.sequence !== sequence) continue; // left over from an exchange that threw
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
          messages.push(message);
          continue;
        }
        const { errno, text } = decodeAcknowledgement(message);
        if (errno !== 0) throw new NetlinkError(intent, errno, text);
        return { messages, interrupted };
      }
    }
  }

  /** One datagram, copied; `undefined` when none waits. */
  #receive(): Uint8Array | undefined {
    let size: number;
    try {
      size = call("recv", this.fd, this.#buffer, this.#buffer.length, MSG_PEEK | MSG_TRUNC);
      if (size > this.#buffer.length) this.#buffer = memory(size);
      size = call("recv", this.fd, this.#buffer, this.#buffer.length, 0);
    } catch (error) {
      if (error instanceof SystemError && error.code === "EAGAIN") return undefined;
      throw error;
    }
    return this.#buffer.slice(0, size);
  }

  /** Sets an option that old kernels or missing privileges may refuse without harm. */
  #prefer(level: number, name: number, value: number): void {
    try {
      call("setsockopt", this.fd, level, name, int(value), 4);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }
}

const EINTR = 4;

function int(value: number): Uint8Array {
  const bytes = memory(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}
