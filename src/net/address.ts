/**
 * IP addresses as bytes in network order. Text is parsed strictly: what `inet_pton` refuses, we
 * refuse (`010.1.1.1`, `1.2.3`, `0x7f.1`); text is written by RFC 5952.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
}

/** Parses an address without zone or prefix; `undefined` when it is not one. */
export function parseIp(text: string): IpAddress | undefined {
  const family = isIP(text);
  if (family === 0 || text.includes("%")) return undefined;
  return { family: family === 4 ? 4 : 6, bytes: Uint8Array.from(ipaddr.parse(text).toByteArray()) };
}

/**
 * Parses an address that the caller knows to be one.
 * @throws {TypeError} when it is not
 */
export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new TypeError(`Not an IP address: "${text}"`);
  return address;
}

/** RFC 5952 text. */
export function formatIp(address: IpAddress): string {
  return ipaddr.fromByteArray([...address.bytes]).toString();
}

export const sameIp = (a: IpAddress, b: IpAddress): boolean =>
  a.family === b.family && a.bytes.every((byte, index) => byte === b.bytes[index]);
