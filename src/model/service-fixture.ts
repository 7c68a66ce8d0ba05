/** Parts of services, for tests. */
import { type IpPrefix, parsePrefix } from "../net/prefix.ts";
import type { PortRange, Service } from "./model.ts";

/** An address or a prefix. */
export function vip(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new RangeError(`Not a prefix: ${text}`);
  return prefix;
}

export const port = (number: number): PortRange => ({ first: number, last: number });

/** TCP port 80 of pool `web` by the five-tuple, unless said otherwise. */
export const service = (vips: readonly string[], rest: Partial<Service> = {}): Service => ({
  name: "web",
  vips: vips.map(vip),
  protocol: "tcp",
  ports: [port(80)],
  hashKey: "five-tuple",
  pool: "web",
  ...rest,
});
