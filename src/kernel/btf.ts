/** BTF of programs and map values, handed to the kernel (BPF_BTF_LOAD). */
import { BtfBuilder } from "../bpf/btf.ts";
import type { MapSpec } from "../bpf/image.ts";
import { MapType } from "../bpf/image.ts";
import { BpfAttribute, bpf, BpfCommand, textAt } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { memory, offHeap } from "./libc.ts";
import { notPermitted } from "./not-permitted.ts";

/**
 * Loads a BTF blob and returns its file descriptor.
 * @param owner names whose BTF it is, for the error
 * @throws {KernelError} BTF_LOAD, NOT_PERMITTED
 */
export function loadBtf(btf: Uint8Array, owner: string): number {
  const bytes = offHeap(btf);
  const log = memory(1 << 16);
  const attribute = new BpfAttribute(32).pointer(0, bytes).u32(16, bytes.length);
  try {
    return bpf(BpfCommand.BPF_BTF_LOAD, attribute);
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "EPERM") throw notPermitted(`load the BTF of "${owner}"`, cause);
    attribute.pointer(8, log).u32(20, log.length).u32(24, 1);
    try {
      return bpf(BpfCommand.BPF_BTF_LOAD, attribute);
    } catch {
      const text = textAt(log, 0, log.length).trim();
      throw new KernelError(
        `Cannot load the BTF of "${owner}": ${errno}, ${text.split("\n").at(-1) || "no reason given"}`,
        { code: "BTF_LOAD", log: text },
        { cause },
      );
    }
  }
}

/** BTF of a map's key and value, by type id in a loaded BTF object; the kernel keeps it with the map. */
export interface MapBtf {
  readonly fd: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

// Those whose map_check_btf() takes BTF of any value: arrays and hashes (kernel/bpf/arraymap.c, hashtab.c).
const TAKE_BTF: ReadonlySet<number> = new Set([
  MapType.BPF_MAP_TYPE_HASH,
  MapType.BPF_MAP_TYPE_LRU_HASH,
  MapType.BPF_MAP_TYPE_PERCPU_HASH,
  MapType.BPF_MAP_TYPE_ARRAY,
  MapType.BPF_MAP_TYPE_PERCPU_ARRAY,
]);

/**
 * Loads the BTF of a map whose value has a layout, null when it has none or the type takes none. The
 * caller closes the file descriptor once the map is made.
 * @throws {KernelError} BTF_LOAD, NOT_PERMITTED
 */
export function loadMapBtf(spec: MapSpec): MapBtf | null {
  if (spec.value === null || !TAKE_BTF.has(spec.type)) return null;
  const btf = new BtfBuilder();
  const keyTypeId = keyTypeOf(spec, btf);
  const valueTypeId = btf.struct(spec.value);
  return { fd: loadBtf(btf.build(), spec.name), keyTypeId, valueTypeId };
}

/** Arrays insist on an integer of 32 bits; keys of hash maps are bytes to the kernel, whatever we see in them. */
function keyTypeOf({ key, keySize }: MapSpec, btf: BtfBuilder): number {
  if (key !== undefined) return btf.struct(key);
  return keySize === 4 ? btf.int("__u32", 4) : btf.array(btf.int("__u8", 1), keySize);
}
