/**
 * The house rules no linter knows, checked over src/: who may import whom, and who may read the
 * clock, the environment and the FFI. `node scripts/house.ts` prints what breaks them.
 */
import { globSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path/posix";

/** Knows nothing of load balancing. Sideways is fine. */
const base = ["net", "packet", "bpf", "kernel", "bgp", "bfd", "vrrp"];
const domain = [...base, "model"];
const decisions = [...domain, "config", "schedule", "datapath"];
const effects = [...decisions, "plan"];
const edges = [...effects, "apply", "health", "flows", "fleet", "announce"];

/** Module (a folder of src/) to the other modules it may import. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(base.map((name) => [name, base])),
  net: [],
  bpf: [],
  model: base,
  // A configuration is also checked against what a table can hold.
  config: [...domain, "schedule"],
  schedule: domain,
  datapath: [...domain, "config", "schedule"],
  plan: decisions,
  apply: effects,
  health: effects,
  flows: effects,
  fleet: effects,
  announce: effects,
  api: edges,
  console: edges,
  daemon: [...edges, "api", "console"],
  lab: [...edges, "api", "console", "daemon"],
  cli: [...edges, "api", "console", "daemon", "lab"],
};

/** These may read the clock and the environment, and pass them on; all else is given them. */
const readers = ["api", "console", "daemon", "lab", "cli"];
const ambient = /\bprocess\.env\b|\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bhrtime\b/;

const FFI_FILE = "src/kernel/libc.ts";
const vagueNames = /^(utils?|helpers?|common|types|misc)$/;
/** A helper is a thing in eBPF: a kernel function that programs call (bpf-helpers(7)). */
const HELPERS_FILE = "src/bpf/helpers.ts";

/** What breaks the rules in `files` (path from the top of the tree to text), one sentence each. */
export function violationsIn(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([path, text]) => violationsOf(path, withoutComments(text)));
}

function violationsOf(path: string, code: string): string[] {
  const found: string[] = [];
  const [, module = "", ...rest] = path.split("/");
  const allowed = mayImport[module];
  if (rest.length === 0 || allowed === undefined) {
    return [`${path}: is in no folder the import table knows, add it to scripts/house.ts`];
  }
  const vague = [module, ...rest].find((part) => vagueNames.test(part.split(".")[0] ?? ""));
  if (vague !== undefined && path !== HELPERS_FILE)
    found.push(`${path}: "${vague}" does not say what it holds`);
  if (!/^[a-z0-9-]+(\.[a-z0-9]+)*$/.test(basename(path))) found.push(`${path}: is not kebab-case`);

  const isTest = /(\.test|-fixture)\.ts$/.test(path);
  for (const target of importsOf(code)) {
    if (target === "koffi" && path !== FFI_FILE) {
      found.push(`${path}: imports koffi, only ${FFI_FILE} may`);
    }
    if (!target.startsWith(".")) continue;
    const [top, other = ""] = join(dirname(path), target).split("/");
    // Kernel and end-to-end tests put the parts together as they need.
    if (/\.(kernel|e2e)\.test\.ts$/.test(path)) continue;
    if (top !== "src" || (other !== module && !allowed.includes(other))) {
      found.push(
        `${path}: imports ${target}, ${module} may not know ${top === "src" ? other : top}`,
      );
    }
  }
  const reads = ambient.exec(code)?.[0];
  if (reads !== undefined && !isTest && !readers.includes(module)) {
    found.push(`${path}: reads ${reads.replace("(", "")}, it must be given what it says`);
  }
  return found;
}

const importsOf = (code: string): string[] =>
  Array.from(code.matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g), (match) => match[1] ?? "");

const withoutComments = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");

if (import.meta.main) {
  const paths = globSync("src/**/*.ts").toSorted();
  const found = violationsIn(new Map(paths.map((path) => [path, readFileSync(path, "utf8")])));
  for (const violation of found) console.error(violation);
  process.exitCode = found.length === 0 && paths.length > 0 ? 0 : 1;
}
