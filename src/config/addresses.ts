/** Which addresses can be a VIP, a backend or a director, and when two texts are one address. */
import type { IpAddress } from "../net/address.ts";
import { formatIp, ip } from "../net/address.ts";
import { ipScope } from "../net/scope.ts";
import type { Finding } from "./finding.ts";
import type { Placed } from "./places.ts";

/** RFC 5952 text of what the schema accepted as an address; equal for equal addresses. */
export const canonicalText = (text: string): string => formatIp(ip(text));

export const canonical = ([path, text]: Placed<string>): Placed<string> => [
  path,
  canonicalText(text),
];

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
