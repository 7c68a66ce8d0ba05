/**
 * The kernel's own BTF (/sys/kernel/btf/vmlinux): type ids of its functions and variables by name,
 * for programs that call the one (kfuncs) or read the other.
 */
import { readFileSync } from "node:fs";

const VMLINUX = "/sys/kernel/btf/vmlinux";

const Kind = { FUNC: 12, VAR: 14 } as const;
/** Bytes after the 12 every type has, by kind: so many, and so many for each member (Documentation/bpf/btf.rst). */
const TRAILING: Readonly<Record<number, readonly [fixed: number, member: number]>> = {
  1: [4, 0],
  3: [12, 0],
  4: [0, 12],
  5: [0, 12],
  6: [0, 8],
  13: [0, 8],
  14: [4, 0],
  15: [0, 12],
  17: [4, 0],
  19: [0, 12],
};

export type KernelSymbolKind = "function" | "variable";

/**
 * Type ids of the functions or variables with these names; missing where the kernel has none, or no BTF.
 */
export function kernelBtfIds(
  kind: KernelSymbolKind,
  names: ReadonlySet<string>,
): ReadonlyMap<string, number> {
  let btf: Uint8Array;
  try {
    btf = readFileSync(VMLINUX);
  } catch {
    // A kernel without CONFIG_DEBUG_INFO_BTF has none of them.
    return new Map();
  }
  return idsIn(btf, kind, names);
}

/** The same in a BTF blob. */
export function idsIn(
  btf: Uint8Array,
  kind: KernelSymbolKind,
  names: ReadonlySet<string>,
): ReadonlyMap<string, number> {
  const view = new DataView(btf.buffer, btf.byteOffset, btf.byteLength);
  const headerSize = view.getUint32(4, true);
  const types = headerSize + view.getUint32(8, true);
  const typesEnd = types + view.getUint32(12, true);
  const strings = headerSize + view.getUint32(16, true);
  const wanted = kind === "function" ? Kind.FUNC : Kind.VAR;
  const ids = new Map<string, number>();
  let id = 1;
  for (let at = types; at < typesEnd; id += 1) {
    const info = view.getUint32(at + 4, true);
    const found = (info >>> 24) & 0x1f;
    if (found === wanted) {
      const start = strings + view.getUint32(at, true);
      const name = Buffer.from(btf.subarray(start, btf.indexOf(0, start))).toString("latin1");
      if (names.has(name)) ids.set(name, id);
    }
    const [fixed, member] = TRAILING[found] ?? [0, 0];
    at += 12 + fixed + member * (info & 0xffff);
  }
  return ids;
}
