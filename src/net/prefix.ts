/** IP prefixes: an address whose bits behind the first `length` are zero. A whole address is one too. */
import { formatIp, type IpAddress, parseIp, sameIp } from "./address.ts";

export interface IpPrefix {
  readonly address: IpAddress;
  /** 0 to 32 or 128. */
  readonly length: number;
}

/** Parses "192.0.2.0/24", or an address, which is a prefix of all its bits; `undefined` when it is neither. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const split = splitPrefix(text);
  if (split === undefined || sameIp(maskedPrefix(split).address, split.address)) return split;
  return undefined;
}

/** The address and the length of a text, whose bits behind the length may be set: what somebody meant by it. */
export function splitPrefix(
  text: string,
): { readonly address: IpAddress; readonly length: number } | undefined {
  const [before = "", after, ...rest] = text.split("/");
  const address = parseIp(before);
  if (address === undefined || rest.length > 0) return undefined;
  if (after === undefined) return wholePrefix(address);
  if (!/^(0|[1-9]\d{0,2})$/.test(after) || Number(after) > bitsOf(address)) return undefined;
  return { address, length: Number(after) };
}

/** The prefix that an address of a length is in. */
export const maskedPrefix = ({ address, length }: IpPrefix): IpPrefix => ({
  address: masked(address, length),
  length,
});

/** Parsed text, or an address alone without "/32" or "/128". */
export const formatPrefix = (prefix: IpPrefix): string =>
  isWhole(prefix) ? formatIp(prefix.address) : `${formatIp(prefix.address)}/${prefix.length}`;

export const wholePrefix = (address: IpAddress): IpPrefix => ({ address, length: bitsOf(address) });

/** Whether it is a single address. */
export const isWhole = ({ address, length }: IpPrefix): boolean => length === bitsOf(address);

export const prefixContains = (prefix: IpPrefix, address: IpAddress): boolean =>
  address.family === prefix.address.family &&
  masked(address, prefix.length).bytes.every((byte, at) => byte === prefix.address.bytes[at]);

export const sameIpPrefix = (a: IpPrefix, b: IpPrefix): boolean =>
  a.length === b.length && sameIp(a.address, b.address);

/** `address` with zeros behind its first `length` bits. */
export const masked = ({ family, bytes }: IpAddress, length: number): IpAddress => ({
  family,
  bytes: bytes.map((byte, at) => {
    const bits = Math.min(8, Math.max(0, length - at * 8));
    return byte & (0xff00 >> bits) & 0xff;
  }),
});

/** The last address of a prefix. */
export const lastOf = ({ address: { family, bytes }, length }: IpPrefix): IpAddress => ({
  family,
  bytes: bytes.map((byte, at) => byte | (0xff >> Math.min(8, Math.max(0, length - at * 8)))),
});

const bitsOf = ({ family }: IpAddress): number => (family === 4 ? 32 : 128);
