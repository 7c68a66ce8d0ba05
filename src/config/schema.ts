/**
 * The shape of the files, and the only place that knows it: keys, ranges and defaults. A
 * description says what is allowed, as the end of a sentence that begins with "Expected".
 * docs/configuration.md says the same for people; a test compares the keys.
 */
import * as z from "zod";
import { forwardings, protocols, xdpModes } from "../model/model.ts";
import { parseIp } from "../net/address.ts";

/** A pool's member list is indexed by 16 bits, and one value means none. */
export const backendsMax = 65_535;
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
  xdpMode: z.enum(xdpModes).describe(oneOf(xdpModes)).default("auto"),
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
    vips: z.array(address).min(1).describe("a list of at least one address"),
    protocol: z.enum(protocols).describe(oneOf(protocols)),
    ports: z
      .array(z.int().min(1).max(65_535).describe("a port, an integer from 1 to 65535"))
      .min(1)
      .describe("a list of at least one port"),
    pool: name,
  })
  .describe("a map with the keys name, vips, protocol, ports and pool");

export const directorFile = z
  .strictObject({
    director: z
      .strictObject({
        ...daemon,
        hashKeyFile: z.string().min(1).describe("a file name").optional(),
      })
      .describe("a map with the key interfaces"),
    pools: z.array(poolSchema).describe("a list of pools").default([]),
    services: z.array(serviceSchema).describe("a list of services").default([]),
  })
  .describe("a map with the keys director, pools and services, or agent");
export type DirectorFile = z.output<typeof directorFile>;

export const agentFile = z
  .strictObject({
    agent: z
      .strictObject({
        ...daemon,
        vips: z.array(address).min(1).describe("a list of at least one address"),
        directors: z.array(address).min(1).describe("a list of at least one address"),
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
