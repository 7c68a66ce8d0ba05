/**
 * Text to configuration: YAML, then the schema, then the rules, then the model. Pure but for the
 * reader of secrets it is given. Import it through `read.ts`, which loads it (with zod and yaml)
 * only when a file is to be read.
 */
import { dirname, resolve } from "node:path";
import type { AgentConfig, DirectorConfig } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { type IpPrefix, parsePrefix } from "../net/prefix.ts";
import { agentRules } from "./agent-rules.ts";
import { check, toIssues } from "./check.ts";
import { directorRules } from "./director-rules.ts";
import type { Document } from "./document.ts";
import { parseYaml } from "./document.ts";
import type { ConfigIssue } from "./issue.ts";
import { ConfigError } from "./issue.ts";
import { portRange } from "../model/port-range.ts";
import type { DirectorDraft, DirectorFile } from "./schema.ts";
import { agentFile, directorFile } from "./schema.ts";
import type { ReadSecret } from "./secret.ts";
import { decodeHashKey } from "./secret.ts";

/**
 * Parses a director's file. `file` names it in issues, and key files are relative to its folder.
 * @throws {ConfigError} with every issue of the text
 */
export function parseDirectorConfig(
  text: string,
  file: string,
  readSecret: ReadSecret,
): DirectorConfig {
  return directorOf(parseYaml(text), file, readSecret);
}

/**
 * Parses an agent's file. `file` names it in issues.
 * @throws {ConfigError} with every issue of the text
 */
export function parseAgentConfig(text: string, file: string): AgentConfig {
  return agentOf(parseYaml(text), file);
}

/** Everything that is wrong with a file of either kind: an agent's if it has nothing else. */
export function checkText(
  text: string,
  file: string,
  readSecret: ReadSecret,
): readonly ConfigIssue[] {
  const document = parseYaml(text);
  try {
    if (kindOf(document.value) === "agent") agentOf(document, file);
    else directorOf(document, file, readSecret);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.issues;
    throw error;
  }
}

function directorOf(document: Document, file: string, readSecret: ReadSecret): DirectorConfig {
  refuseKind(document, file, "agent", "This is an agent's file; a director's has director");
  let hashKey: Uint8Array | null = null;
  const parsed = check(document, file, directorFile, function* (draft: DirectorDraft, placeText) {
    yield* directorRules(draft, placeText);
    const keyFile = draft.director?.hashKeyFile;
    if (keyFile === undefined) return;
    const key = readHashKey(resolve(dirname(file), keyFile), readSecret);
    if (typeof key === "string") yield { path: ["director", "hashKeyFile"], message: key };
    else hashKey = key;
  });
  return directorConfig(parsed, hashKey);
}

function agentOf(document: Document, file: string): AgentConfig {
  refuseKind(document, file, "director", "This is a director's file; an agent's has agent");
  const { agent } = check(document, file, agentFile, agentRules);
  return {
    ...agent,
    vips: agent.vips.map(prefixOf),
    directors: agent.directors.map(prefixOf),
    dscp: agent.dscp.map((each) => ({ address: ip(each.address), vips: each.vips.map(ip) })),
  };
}

type Kind = "director" | "agent";
const rootKeys = ["director", "pools", "services"];

/** What a file is by its keys; `undefined` for both at once and for neither. */
function kindOf(value: unknown): Kind | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const director = rootKeys.some((key) => Object.hasOwn(value, key));
  const agent = Object.hasOwn(value, "agent");
  if (director === agent) return undefined;
  return agent ? "agent" : "director";
}

/** One issue instead of one for every key, when the file is wholly of the other kind. */
function refuseKind(document: Document, file: string, kind: Kind, message: string): void {
  if (kindOf(document.value) !== kind) return;
  const keys = kind === "agent" ? ["agent"] : rootKeys;
  const path = Object.keys(document.value as object).filter((key) => keys.includes(key));
  const findings = [...document.findings, { path: path.slice(0, 1), message, at: "key" as const }];
  throw new ConfigError(toIssues(document, file, findings));
}

function directorConfig(file: DirectorFile, hashKey: Uint8Array | null): DirectorConfig {
  const { hashKeyFile: _, ...director } = file.director;
  const pools = file.pools.map((pool) => ({
    name: pool.name,
    backends: pool.backends.map(({ name, address, weight, forwarding }) => ({
      name,
      address: ip(address),
      weight,
      forwarding: forwarding ?? pool.forwarding,
    })),
  }));
  const services = file.services.map((service) => ({
    ...service,
    vips: service.vips.map(prefixOf),
    ports: service.ports === "all" ? service.ports : service.ports.map(portRange),
  }));
  const outerSources = director.outerSources.map(prefixOf);
  return { ...director, outerSources, hashKey, pools, services };
}

/** What the rules let through as a prefix. */
function prefixOf(text: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new RangeError(`Not a prefix: ${text}`);
  return prefix;
}

/** The key, or why there is none. */
function readHashKey(file: string, readSecret: ReadSecret): Uint8Array | string {
  const reading = readSecret(file);
  if (reading.kind === "refused") return `Cannot read the hash key: ${reading.reason}`;
  const key = decodeHashKey(reading.bytes);
  if (key !== undefined) return key;
  return `Not a hash key: expected 32 bytes or 64 hex digits; the file has ${reading.bytes.length} bytes`;
}
