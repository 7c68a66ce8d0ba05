/**
 * The shape of the files, and the only place that knows it: keys, ranges and defaults. A
 * description says what is allowed, as the end of a sentence that begins with "Expected".
 * docs/configuration.md says the same for people; a test compares the keys.
 */
import * as z from "zod";
import {
  agentModes,
  defaultTunnels,
  forwardings,
  hashKeys,
  protocols,
  vlanTagChoices,
  xdpModes,
} from "../model/model.ts";
import { parseIp } from "../net/address.ts";
import { splitPrefix } from "../net/prefix.ts";
import { parsePortRange } from "../model/port-range.ts";

/** A pool's member list is indexed by 16 bits, and one value means none. */
export const backendsMax = 65_535;
/** DSCP has six bits, and 0 is what packets have that name no VIP. */
export const codePointsMax = 63;
/** The middle of a scale: others can be lowered and raised without touching the rest. */
export const defaultWeight = 10;
export const defaultForwarding = "l2";

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/)
  .describe('a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit');

const address = z
  .string()
  .refine((text) => parseIp(text) !== undefined)
  .describe("an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10");

/** Bits behind the length are a finding of the rules, which say what was meant. */
const prefix = z
  .string()
  .refine((text) => splitPrefix(text) !== undefined)
  .describe("an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64");

const vips = z.array(prefix).min(1).describe("a list of at least one address or prefix");

const port = z.int().min(1).max(65_535);

const ports = z
  .union([
    z.literal("all"),
    z
      .array(
        z
          .union([port, z.string().refine((text) => parsePortRange(text) !== undefined)])
          .describe("a port from 1 to 65535, or a range such as 8000-8999"),
      )
      .min(1),
  ])
  .describe("a list of at least one port or range, or all");

const udpPort = port.describe("a port, an integer from 1 to 65535");

const tunnelPorts = {
  fouPort: udpPort.default(defaultTunnels.fouPort),
  fouPortIpv6: udpPort.default(defaultTunnels.fouPortIpv6),
  guePort: udpPort.default(defaultTunnels.guePort),
};
export const agentTunnelsSchema = z
  .strictObject(tunnelPorts)
  .describe("a map with the keys fouPort, fouPortIpv6 and guePort");
export const tunnelsSchema = z
  .strictObject({
    ...tunnelPorts,
    udpChecksum: z.boolean().describe("true or false").default(defaultTunnels.udpChecksum),
  })
  .describe("a map with the keys fouPort, fouPortIpv6, guePort and udpChecksum");

const vlanTags = z.literal(vlanTagChoices).describe("auto, 0, 1 or 2").default("auto");

const forwarding = z.enum(forwardings).describe(oneOf(forwardings));

/** IFNAMSIZ is 16 with the NUL; the characters are those of `dev_valid_name` (net/core/dev.c). */
const interfaceName = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= 15 && /^(?!\.{1,2}$)[^\s/:\0]+$/.test(text))
  .describe("an interface name: 1 to 15 bytes without space, / or :");

const daemon = {
  instance: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/)
    .describe('a name: 1 to 32 of a-z, 0-9 and "-"')
    .default("main"),
  interfaces: z.array(interfaceName).min(1).describe("a list of at least one interface name"),
};

export const backendSchema = z
  .strictObject({
    name,
    address,
    weight: z
      .int()
      .min(1)
      .max(65_535)
      .describe("an integer from 1 to 65535")
      .default(defaultWeight),
    forwarding: forwarding.optional(),
  })
  .describe("a map with the keys name and address");

export const poolSchema = z
  .strictObject({
    name,
    forwarding: forwarding.default(defaultForwarding),
    backends: z
      .array(backendSchema)
      .min(1)
      .max(backendsMax)
      .describe(`a list of 1 to ${backendsMax} backends`),
  })
  .describe("a map with the keys name and backends");

export const serviceSchema = z
  .strictObject({
    name,
    vips,
    protocol: z.enum(protocols).describe(oneOf(protocols)),
    ports,
    hashKey: z.enum(hashKeys).describe(oneOf(hashKeys)).default("five-tuple"),
    pool: name,
  })
  .describe("a map with the keys name, vips, protocol, ports and pool");

export const directorFile = z
  .strictObject({
    director: z
      .strictObject({
        ...daemon,
        xdpMode: z.enum(xdpModes).describe(oneOf(xdpModes)).default("auto"),
        hashKeyFile: z.string().min(1).describe("a file name").optional(),
        tunnels: tunnelsSchema.prefault({}),
        outerSources: z.array(prefix).describe("a list of addresses or prefixes").default([]),
        vlanTags,
      })
      .describe("a map with the key interfaces"),
    pools: z.array(poolSchema).describe("a list of pools").default([]),
    services: z.array(serviceSchema).describe("a list of services").default([]),
  })
  .describe("a map with the keys director, pools and services, or agent");
export type DirectorFile = z.output<typeof directorFile>;

export const dscpSchema = z
  .strictObject({
    address,
    vips: z
      .array(address)
      .min(1)
      .max(codePointsMax)
      .describe(`a list of 1 to ${codePointsMax} addresses`),
  })
  .describe("a map with the keys address and vips");

export const agentFile = z
  .strictObject({
    agent: z
      .strictObject({
        ...daemon,
        mode: z.enum(agentModes).describe(oneOf(agentModes)).default("auto"),
        vips,
        directors: z.array(prefix).min(1).describe("a list of at least one address or prefix"),
        tunnels: agentTunnelsSchema.prefault({}),
        dscp: z
          .array(dscpSchema)
          .describe("a list of maps with the keys address and vips")
          .default([]),
        vlanTags,
      })
      .describe("a map with the keys interfaces, vips and directors"),
  })
  .describe("a map with the key agent");

/** What is left of a file when everything invalid is taken out. List items keep their places. */
export type Draft<T> = T extends readonly (infer Item)[]
  ? readonly (Draft<Item> | undefined)[]
  : T extends object
    ? { readonly [Key in keyof T]?: Draft<T[Key]> | undefined }
    : T;
export type DirectorDraft = Draft<z.input<typeof directorFile>>;
export type AgentDraft = Draft<z.input<typeof agentFile>>;

function oneOf(values: readonly string[]): string {
  return `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
}
