/** Which addresses can be a VIP, a backend or a director, and when two texts are one address. */
import type { IpAddress } from "../net/address.ts";
import { formatIp, ip, sameIp } from "../net/address.ts";
import {
  formatPrefix,
  type IpPrefix,
  isWhole,
  lastOf,
  maskedPrefix,
  splitPrefix,
} from "../net/prefix.ts";
import { ipScope } from "../net/scope.ts";
import type { Finding } from "./finding.ts";
import type { Placed } from "./places.ts";

/** RFC 5952 text of what the schema accepted as an address or prefix; equal for equal ones. */
export const canonicalText = (text: string): string =>
  text.includes("/") ? formatPrefix(readPrefix(text)) : formatIp(ip(text));

export const canonical = ([path, text]: Placed<string>): Placed<string> => [
  path,
  canonicalText(text),
];

/** What the schema accepted as a prefix, bits behind its length put aside: those have a finding. */
export function readPrefix(text: string): IpPrefix {
  const split = splitPrefix(text);
  if (split === undefined) throw new RangeError(`Not a prefix: ${text}`);
  return maskedPrefix(split);
}

/** Refuses prefixes with addresses that no host can be reached by, and with bits behind their length. */
export function* reachablePrefix([path, text]: Placed<string>, role: string): Generator<Finding> {
  const prefix = readPrefix(text);
  if (isWhole(prefix)) {
    yield* reachable([path, text.split("/")[0] ?? text], role);
    return;
  }
  const written = splitPrefix(text);
  if (written !== undefined && !sameIp(written.address, prefix.address)) {
    const message = `${text} has bits behind its length; write ${formatPrefix(prefix)}, or the address alone`;
    yield { path, message };
    return;
  }
  for (const address of [prefix.address, lastOf(prefix)]) {
    const scope = ipScope(address);
    if (scope === "unicast") continue;
    const message = `${text} has ${formatIp(address)}, ${article(scope)} ${scope} address, which cannot be ${role}; use a prefix of unicast addresses`;
    yield { path, message };
    return;
  }
}

/** Refuses what no host can be reached by from elsewhere. `role` is such as `"a VIP"`. */
export function* reachable([path, text]: Placed<string>, role: string): Generator<Finding> {
  const address = ip(text);
  const scope = ipScope(address);
  if (scope === "unicast") return;
  const message =
    scope === "IPv4-mapped"
      ? `${text} is an IPv4-mapped address; write ${embeddedIpv4(address)}`
      : `${text} is ${article(scope)} ${scope} address and cannot be ${role}; use a unicast address`;
  yield { path, message };
}

const embeddedIpv4 = ({ bytes }: IpAddress): string =>
  formatIp({ family: 4, bytes: bytes.subarray(12) });

const article = (word: string): string => (/^[aeiou]/i.test(word) ? "an" : "a");
