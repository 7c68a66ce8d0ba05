/**
 * Netlink messages and their attributes as bytes (include/uapi/linux/netlink.h). Pure: the socket is
 * in `netlink.ts`. Everything lies in host order; what is in network order is a field of the family
 * (addresses, ports) and says so there.
 */
import type { Fields, RecordOf, Struct } from "../bpf/layout.ts";
import { struct, u16, u32 } from "../bpf/layout.ts";
import type { IpAddress } from "../net/address.ts";

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** In an acknowledgement: the request is not repeated whole / attributes follow. */
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;

/** Set on attributes that hold attributes, masked off when read. */
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const Header = struct("nlmsghdr", { length: u32, type: u16, flags: u16, sequence: u32, port: u32 });
const ATTRIBUTE_HEADER_SIZE = 4;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Attributes by type; of one that is repeated the last, as the kernel's nla_parse keeps it. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** Bytes that are not what they should be: `field` at `offset` in the bytes given to the decoder. */
export class NetlinkDecodeError extends Error {
  readonly field: string;
  readonly offset: number;

  constructor(field: string, offset: number, reason: string) {
    super(`Cannot decode netlink ${field} at ${offset}: ${reason}`);
    this.name = "NetlinkDecodeError";
    this.field = field;
    this.offset = offset;
  }
}

/** Encodes one message to the kernel (port 0). */
export function encodeMessage(message: NetlinkMessage): Uint8Array {
  const out = new Uint8Array(Header.size + message.payload.length);
  Header.write(out, { ...message, length: out.length, port: 0 });
  out.set(message.payload, Header.size);
  return out;
}

/**
 * Splits a datagram into messages. Payloads are views of `bytes`.
 * @throws {NetlinkDecodeError} when a length does not fit
 */
export function decodeMessages(bytes: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { length, type, flags, sequence } = readHeader(Header, bytes, at);
    if (length < Header.size || at + length > bytes.length) {
      throw new NetlinkDecodeError("message length", at, `${length} in ${bytes.length - at} bytes`);
    }
    const payload = bytes.subarray(at + Header.size, at + length);
    messages.push({ type, flags, sequence, payload });
    at += align(length);
  }
  return messages;
}

/** What the kernel answered: `errno` 0 is success, `text` its extended acknowledgement. */
export interface Acknowledgement {
  readonly errno: number;
  readonly text: string | null;
}

/**
 * Decodes the payload of NLMSG_ERROR, and of NLMSG_DONE, which lacks the copy of the request
 * (Documentation/userspace-api/netlink/intro.rst).
 * @throws {NetlinkDecodeError} when it is too short
 */
export function decodeAcknowledgement(message: NetlinkMessage): Acknowledgement {
  const { payload, flags, type } = message;
  if (payload.length < 4) {
    // The status at the end of a dump is optional.
    if (type === NLMSG_DONE) return { errno: 0, text: null };
    throw new NetlinkDecodeError("acknowledgement", 0, `${payload.length} bytes`);
  }
  const errno = Math.abs(new DataView(payload.buffer, payload.byteOffset).getInt32(0, true));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: null };
  let at = 4;
  if (type === NLMSG_ERROR) {
    const copied = readHeader(Header, payload, at).length;
    at += (flags & NLM_F_CAPPED) === 0 ? align(copied) : Header.size;
  }
  const text = textOf(decodeAttributes(payload, at), NLMSGERR_ATTR_MSG);
  return { errno, text: text ?? null };
}

/** Encodes attributes one after another, each padded to 4 bytes. */
export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array {
  const size = attributes.reduce(
    (sum, { value }) => sum + align(ATTRIBUTE_HEADER_SIZE + value.length),
    0,
  );
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  let at = 0;
  for (const { type, value } of attributes) {
    view.setUint16(at, ATTRIBUTE_HEADER_SIZE + value.length, true);
    view.setUint16(at + 2, type, true);
    out.set(value, at + ATTRIBUTE_HEADER_SIZE);
    at += align(ATTRIBUTE_HEADER_SIZE + value.length);
  }
  return out;
}

/**
 * Decodes the attributes from `offset` to the end. Values are views of `bytes`.
 * @throws {NetlinkDecodeError} when a length does not fit
 */
export function decodeAttributes(bytes: Uint8Array, offset = 0): Attributes {
  const attributes = new Map<number, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = offset; at < bytes.length; ) {
    if (at + ATTRIBUTE_HEADER_SIZE > bytes.length) {
      throw new NetlinkDecodeError("attribute", at, `${bytes.length - at} bytes left`);
    }
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER_SIZE || at + length > bytes.length) {
      throw new NetlinkDecodeError(
        "attribute length",
        at,
        `${length} in ${bytes.length - at} bytes`,
      );
    }
    const type = view.getUint16(at + 2, true) & NLA_TYPE_MASK;
    attributes.set(type, bytes.subarray(at + ATTRIBUTE_HEADER_SIZE, at + length));
    at += align(length);
  }
  return attributes;
}

/** A payload: the family's fixed header, then attributes. */
export function encodePayload(header: Uint8Array, attributes: readonly Attribute[]): Uint8Array {
  const encoded = encodeAttributes(attributes);
  const out = new Uint8Array(align(header.length) + encoded.length);
  out.set(header);
  out.set(encoded, align(header.length));
  return out;
}

/**
 * Splits a payload into the family's fixed header and the attributes behind it.
 * @throws {NetlinkDecodeError} when it is shorter than the header or an attribute does not fit
 */
export function decodePayload<T extends Fields>(
  layout: Struct<T>,
  payload: Uint8Array,
): { readonly header: RecordOf<T>; readonly attributes: Attributes } {
  const header = readHeader(layout, payload, 0);
  return { header, attributes: decodeAttributes(payload, align(layout.size)) };
}

/**
 * Reads a struct.
 * @throws {NetlinkDecodeError} when `bytes` end before it does
 */
export function readHeader<T extends Fields>(
  layout: Struct<T>,
  bytes: Uint8Array,
  at: number,
): RecordOf<T> {
  if (at + layout.size > bytes.length) {
    throw new NetlinkDecodeError(
      layout.name,
      at,
      `${bytes.length - at} bytes left of ${layout.size}`,
    );
  }
  return layout.read(bytes, at);
}

export function u32Attribute(type: number, value: number): Attribute {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return { type, value: bytes };
}

export const textAttribute = (type: number, text: string): Attribute => ({
  type,
  value: new TextEncoder().encode(`${text}\0`),
});

export const nestedAttribute = (type: number, attributes: readonly Attribute[]): Attribute => ({
  type: type | NLA_F_NESTED,
  value: encodeAttributes(attributes),
});

/** @throws {NetlinkDecodeError} when the attribute is not 4 bytes */
export function u32Of(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  if (value === undefined) return undefined;
  if (value.length !== 4) {
    throw new NetlinkDecodeError(`attribute ${type}`, 0, `${value.length} bytes, 4 needed`);
  }
  return new DataView(value.buffer, value.byteOffset, 4).getUint32(0, true);
}

/** Text up to its NUL. */
export function textOf(attributes: Attributes, type: number): string | undefined {
  const value = attributes.get(type);
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

/** @throws {NetlinkDecodeError} when what is inside does not fit */
export function nestedOf(attributes: Attributes, type: number): Attributes | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : decodeAttributes(value);
}

/**
 * A copy of an address attribute of 4 or 16 bytes.
 * @throws {NetlinkDecodeError} for any other size
 */
export function ipOf(attributes: Attributes, type: number): IpAddress | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : toIp(value, `attribute ${type}`);
}

/** @throws {NetlinkDecodeError} when `bytes` are neither 4 nor 16 */
export function toIp(bytes: Uint8Array, field: string): IpAddress {
  if (bytes.length === 4) return { family: 4, bytes: bytes.slice() };
  if (bytes.length === 16) return { family: 6, bytes: bytes.slice() };
  throw new NetlinkDecodeError(field, 0, `${bytes.length} bytes, 4 or 16 needed`);
}

const align = (size: number): number => (size + 3) & ~3;
