/** What kind of address an address is, as far as it decides whether a host can be reached by it. */
import type { IpAddress } from "./address.ts";

export const ipScopes = [
  "unicast",
  "unspecified",
  "loopback",
  "link-local",
  "multicast",
  "broadcast",
  "IPv4-mapped",
] as const;
export type IpScope = (typeof ipScopes)[number];

/**
 * The scope of an address by RFC 6890. 0.0.0.0/8 counts as unspecified (RFC 1122 §3.2.1.3: "this
 * host on this network"), 240.0.0.0/4 as unicast, as Linux has it, broadcast as 255.255.255.255
 * only: that of a subnet takes its mask to tell.
 */
export function ipScope({ family, bytes }: IpAddress): IpScope {
  const [first = 0, second = 0] = bytes;
  if (family === 4) {
    if (first === 0) return "unspecified";
    if (first === 127) return "loopback";
    if (first === 169 && second === 254) return "link-local";
    if (first >= 224 && first <= 239) return "multicast";
    return bytes.every((byte) => byte === 255) ? "broadcast" : "unicast";
  }
  if (first === 0xff) return "multicast";
  if (first === 0xfe && (second & 0xc0) === 0x80) return "link-local";
  if (bytes.subarray(0, 10).every((byte) => byte === 0)) {
    if (bytes[10] === 0xff && bytes[11] === 0xff) return "IPv4-mapped";
    const low = bytes.subarray(10);
    if (low.every((byte) => byte === 0)) return "unspecified";
    if (low.every((byte, index) => byte === (index === 5 ? 1 : 0))) return "loopback";
  }
  return "unicast";
}
