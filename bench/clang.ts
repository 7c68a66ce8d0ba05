/** clang as an oracle: what a good compiler makes of the same logic. Nothing but `--clang` needs it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Defines = Readonly<Record<string, string | number | bigint>>;

const FLAGS = ["-O2", "-target", "bpf", "-mcpu=v3", "-g0", "-Wall", "-Werror"] as const;

/** The first line of `clang --version`, or null where there is none that knows BPF. */
export function clangVersion(): string | null {
  const { status, stdout } = spawnSync("clang", ["--print-targets"], { encoding: "utf8" });
  if (status !== 0 || !/^ *bpf /m.test(stdout)) return null;
  const version = spawnSync("clang", ["--version"], { encoding: "utf8" });
  return version.stdout.split("\n")[0] ?? null;
}

/** Compiles one file of `bench/oracle/` to an object file. @throws {Error} with what clang says */
export function compileC(file: string, defines: Defines): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "carom-oracle-"));
  try {
    const out = join(folder, "oracle.o");
    const source = new URL(`oracle/${file}`, import.meta.url).pathname;
    const given = Object.entries(defines).map(([name, value]) => `-D${name}=${literal(value)}`);
    const { status, stderr } = spawnSync("clang", [...FLAGS, ...given, "-c", source, "-o", out], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`Cannot compile ${file}:\n${stderr}`);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const literal = (value: string | number | bigint): string =>
  typeof value === "bigint" ? `0x${value.toString(16)}ull` : String(value);
