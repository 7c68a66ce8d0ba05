/**
 * Completes package-lock.json: `npm run lock`, after every `npm install`.
 *
 * npm leaves optional packages out of the lock file whose metadata it could not get, as from a mirror
 * that carries Linux packages only; then `npm ci` refuses the file. An entry that says for which
 * machine the package is suffices: npm neither asks for nor installs what is not for the machine.
 */
import { readFileSync, writeFileSync } from "node:fs";

export interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
type Packages = Readonly<Record<string, LockedPackage>>;

/** Entries for the optional dependencies `packages` does not hold, by the machine their names tell. */
export function missingFrom(packages: Packages): Packages {
  const missing: Record<string, LockedPackage> = {};
  for (const { dev, optionalDependencies = {} } of Object.values(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      const path = `node_modules/${name}`;
      if (packages[path] !== undefined) continue;
      missing[path] = {
        version,
        ...(dev === true ? { dev } : {}),
        optional: true,
        ...machineOf(name),
      };
    }
  }
  return missing;
}

const systems = [
  "android",
  "darwin",
  "freebsd",
  "linux",
  "openharmony",
  "openbsd",
  "netbsd",
  "sunos",
  "win32",
];
const processors = [
  "arm",
  "arm64",
  "ia32",
  "loong64",
  "mips64el",
  "ppc64",
  "riscv64",
  "s390x",
  "x64",
];

/** @throws {Error} when the name does not tell, since the package would then be installed everywhere */
function machineOf(name: string): Pick<LockedPackage, "os" | "cpu" | "libc"> {
  const words = (name.split("/").at(-1) ?? "").split("-");
  const os = systems.find((word) => words.includes(word));
  const cpu = processors.find((word) => words.includes(word));
  if (os === undefined || cpu === undefined) {
    throw new Error(`Cannot lock "${name}": its name does not tell for which machine it is`);
  }
  const isMusl = words.some((word) => word.startsWith("musl"));
  return { os: [os], cpu: [cpu], ...(isMusl ? { libc: ["musl"] } : {}) };
}

if (import.meta.main) {
  const file = `${import.meta.dirname}/../package-lock.json`;
  const lock = JSON.parse(readFileSync(file, "utf8")) as { packages: Packages };
  const missing = missingFrom(lock.packages);
  const entries = Object.entries({ ...lock.packages, ...missing });
  // npm's order, so that it does not reorder the file later.
  lock.packages = Object.fromEntries(entries.toSorted(([a], [b]) => a.localeCompare(b, "en")));
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`${Object.keys(missing).length} packages added to package-lock.json`);
}
