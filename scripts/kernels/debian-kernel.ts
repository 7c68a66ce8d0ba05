/**
 * A kernel of Debian's, unpacked into a cache folder and nowhere else, with an initial RAM disk that
 * makes the running machine's own files the guest's root.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";

export interface DebianKernel {
  /** As `uname -r` says it. */
  readonly release: string;
  readonly image: string;
  readonly initrd: string;
  /** Of this release, below `lib/modules/`. */
  readonly modules: string;
}

const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "carom", "kernels");

/** What the initial RAM disk needs to reach the host's files, and the guest to be heard. */
const MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console", "virtio_rng"];

/** Tools and the packages that have them. */
const tools: readonly (readonly [command: string, debianPackage: string])[] = [
  ["qemu-system-x86_64", "qemu-system-x86"],
  ["busybox", "busybox-static"],
  ["modprobe", "kmod"],
  ["cpio", "cpio"],
  ["xz", "xz-utils"],
  ["nft", "nftables"],
];

/** Installs what is missing, which takes root, and says so before. */
export function installTools(): void {
  const missing = tools.filter(([command]) => !isCommand(command)).map(([, name]) => name);
  if (missing.length === 0) return;
  console.log(`Debian packages: ${missing.join(" ")}`);
  apt(["update"]);
  apt(["install", "-y", "--no-install-recommends", ...missing]);
}

/** The newest kernel of a series such as "6.1", from the cache or by apt-get. */
export function debianKernel(series: string): DebianKernel {
  const folder = join(CACHE, series);
  if (!existsSync(join(folder, "release"))) fetchKernel(series, folder);
  const release = readFileSync(join(folder, "release"), "utf8").trim();
  const kernel = {
    release,
    image: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd"),
    modules: join(folder, "lib/modules", release),
  };
  // Made anew each time: what is in it are files of this folder.
  makeInitrd(folder, kernel);
  return kernel;
}

function fetchKernel(series: string, folder: string): void {
  const name = packageOf(series);
  console.log(`Debian kernel: ${name}`);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, `${series}-`));
  try {
    apt(["download", name], work);
    const archive = readdirSync(work).find((file) => file.endsWith(".deb"));
    if (archive === undefined) throw new Error(`apt-get download of ${name} brought nothing`);
    execFileSync("dpkg-deb", ["-x", join(work, archive), join(work, "files")]);
    const image = readdirSync(join(work, "files/boot")).find((file) => file.startsWith("vmlinuz-"));
    if (image === undefined) throw new Error(`${name} has no kernel in it`);
    const release = image.slice("vmlinuz-".length);
    renameSync(join(work, "files/boot", image), join(work, "vmlinuz"));
    renameSync(join(work, "files/lib"), join(work, "lib"));
    rmSync(join(work, "files"), { recursive: true });
    rmSync(join(work, archive));
    execFileSync("depmod", ["-b", work, release], { env: paths });
    writeFileSync(join(work, "release"), `${release}\n`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(work, folder);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    throw error;
  }
}

/** The signed kernel of a series: that of `linux-image-amd64`, or the highest version of another. */
function packageOf(series: string): string {
  const escaped = series.replaceAll(".", "\\.");
  const wanted = new RegExp(`^linux-image-${escaped}\\.[0-9.+a-z-]*amd64$`);
  const names = execFileSync("apt-cache", ["pkgnames", `linux-image-${series}.`], {
    encoding: "utf8",
  })
    .split("\n")
    .filter((name) => wanted.test(name) && !/-(cloud|rt)-|unsigned|dbg/.test(name));
  const usual = execFileSync("apt-cache", ["depends", "linux-image-amd64"], { encoding: "utf8" });
  const [, depends = ""] = /Depends: (linux-image-\S+)/.exec(usual) ?? [];
  if (names.length === 0 && depends.includes(`-${series}.`)) return depends;
  const newest = names.toSorted(byVersion).at(-1);
  if (depends.startsWith(`linux-image-${series}.`)) return depends;
  if (newest === undefined) throw new Error(`Debian has no kernel ${series} here`);
  return newest;
}

const byVersion = (a: string, b: string): number => a.localeCompare(b, "en", { numeric: true });

function makeInitrd(folder: string, { release, initrd }: DebianKernel): void {
  const root = mkdtempSync(join(folder, "initrd-"));
  try {
    for (const name of ["bin", "modules"]) mkdirSync(join(root, name));
    copyFileSync(pathOf("busybox"), join(root, "bin/busybox"));
    cpSync(join(import.meta.dirname, "initrd.sh"), join(root, "init"));
    cpSync(join(import.meta.dirname, "guest.sh"), join(root, "guest"));
    chmodSync(join(root, "init"), 0o755);
    modulesInOrder(folder, release).forEach((file, index) => {
      const name = `${String(index).padStart(2, "0")}-${basename(file).replace(/\.xz$/, "")}`;
      const to = join(root, "modules", name);
      if (file.endsWith(".xz")) writeFileSync(to, execFileSync("xz", ["-dc", file], BIG));
      else copyFileSync(file, to);
    });
    const archive = execFileSync("sh", ["-c", "find . | cpio -o -H newc --quiet"], {
      cwd: root,
      ...BIG,
    });
    writeFileSync(initrd, archive);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const BIG = { maxBuffer: 1 << 28 } as const;

/** Files of modules, what each needs before it. */
function modulesInOrder(folder: string, release: string): readonly string[] {
  const files = new Set<string>();
  for (const name of MODULES) {
    const lines = execFileSync("modprobe", ["-d", folder, "-S", release, "-D", name], {
      encoding: "utf8",
      env: paths,
    });
    for (const [, file] of lines.matchAll(/^insmod (\S+)/gm))
      if (file !== undefined) files.add(file);
  }
  return [...files];
}

const paths = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };

function apt(args: readonly string[], cwd?: string): void {
  execFileSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=600", ...args], {
    env: { ...paths, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "ignore", "inherit"],
    ...(cwd !== undefined && { cwd }),
  });
}

const pathOf = (command: string): string =>
  execFileSync("sh", ["-c", `command -v ${command}`], { encoding: "utf8", env: paths }).trim();

function isCommand(command: string): boolean {
  try {
    return pathOf(command) !== "";
  } catch {
    return false;
  }
}
