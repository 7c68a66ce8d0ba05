/**
 * Maps: create from a `MapSpec` or open a pin, look up, update, delete, mmap. Every map keeps its
 * own attribute, key and value buffers off the heap, so a call allocates nothing but its result.
 * Whole tables go through `map-batch.ts`, per-CPU values through `per-cpu.ts`.
 */
import { MapFlag, MapType } from "../bpf/image.ts";
import type { MapSpec } from "../bpf/image.ts";
import { BpfAttribute, bpf, BpfCommand, objectInfo, textAt } from "./bpf-syscall.ts";
import { loadMapBtf } from "./btf.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { call, mapShared, memory } from "./libc.ts";
import { notPermitted } from "./not-permitted.ts";
import { openPin } from "./pins.ts";
import { possibleCpuCount } from "./possible-cpus.ts";

/** Flags of an update, include/uapi/linux/bpf.h. */
export const UpdateFlag = { BPF_ANY: 0n, BPF_NOEXIST: 1n, BPF_EXIST: 2n } as const;
export type UpdateFlag = (typeof UpdateFlag)[keyof typeof UpdateFlag];

/** A live, writable view of an array's values, shared with the programs that use it. */
export interface MappedValues {
  readonly bytes: Uint8Array;
  /** Bytes from one value to the next: values of an array are padded to 8 (kernel/bpf/arraymap.c); an arena's are pages. */
  readonly strideBytes: number;
  /** Ends the view. Reading or writing `bytes` afterwards crashes the process. */
  unmap(): void;
}

export class BpfMap {
  readonly fd: number;
  readonly spec: MapSpec;
  /** Bytes of one value as user space sees it: for per-CPU maps one rounded-up value per possible CPU. */
  readonly userValueSize: number;
  readonly #attribute = new BpfAttribute(32);
  readonly #key: Uint8Array;
  /** Made when first needed: arenas are large, and mostly reached by `mmap()`. */
  #value: Uint8Array | null = null;
  #open = true;

  /** Takes over `fd`, a map that is as `spec` says. */
  constructor(fd: number, spec: MapSpec) {
    this.fd = fd;
    this.spec = spec;
    this.userValueSize = userValueSize(spec);
    this.#key = memory(spec.keySize);
    this.#attribute.u32(0, fd).pointer(8, this.#key);
  }

  get name(): string {
    return this.spec.name;
  }

  /**
   * A copy of the value of `key`, `userValueSize` bytes, or undefined.
   * @throws {KernelError} MAP_ACCESS
   */
  lookup(key: Uint8Array): Uint8Array | undefined {
    this.#setKey(key);
    const value = this.#useValue();
    this.#attribute.u64(24, 0n);
    try {
      bpf(BpfCommand.BPF_MAP_LOOKUP_ELEM, this.#attribute);
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return undefined;
      throw this.#failure("look up a key of", cause);
    }
    return value.slice();
  }

  /**
   * Writes the value of `key`. For maps of maps or programs the value is a file descriptor.
   * @throws {KernelError} MAP_ACCESS; E2BIG and ENOSPC say that the map is full
   */
  update(key: Uint8Array, value: Uint8Array, flags: UpdateFlag = UpdateFlag.BPF_ANY): void {
    this.#setKey(key);
    if (value.length !== this.userValueSize) {
      throw new RangeError(
        `Cannot update map "${this.name}": value of ${value.length} bytes given, ${this.userValueSize} needed`,
      );
    }
    this.#useValue().set(value);
    this.#attribute.u64(24, flags);
    try {
      bpf(BpfCommand.BPF_MAP_UPDATE_ELEM, this.#attribute);
    } catch (cause) {
      throw this.#failure("update", cause);
    }
  }

  /**
   * Deletes `key`, and says whether it was there.
   * @throws {KernelError} MAP_ACCESS
   */
  delete(key: Uint8Array): boolean {
    this.#setKey(key);
    // The attribute of a deletion ends with the key; what follows must be zero.
    this.#attribute.u64(16, 0n).u64(24, 0n);
    try {
      bpf(BpfCommand.BPF_MAP_DELETE_ELEM, this.#attribute);
      return true;
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return false;
      throw this.#failure("delete a key of", cause);
    }
  }

  /**
   * Maps the values of a BPF_F_MMAPABLE array, or the pages of an arena, into this process. The
   * mapping outlives `close()`.
   * @throws {KernelError} MAP_ACCESS
   */
  mmap(): MappedValues {
    const isArena = this.spec.type === MapType.BPF_MAP_TYPE_ARENA;
    const strideBytes = isArena ? call("getpagesize") : roundUp8(this.spec.valueSize);
    const sizeBytes = strideBytes * this.spec.maxEntries;
    try {
      const mapping = mapShared(this.fd, sizeBytes);
      return {
        bytes: new Uint8Array(mapping.memory, 0, sizeBytes),
        strideBytes,
        unmap: () => mapping.unmap(),
      };
    } catch (cause) {
      throw this.#failure("map the memory of", cause);
    }
  }

  /** Closes the file descriptor. The map lives on while a pin, a program or a mapping holds it. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    call("close", this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The value buffer, with the attribute pointing to it. */
  #useValue(): Uint8Array {
    this.#value ??= memory(this.userValueSize);
    this.#attribute.pointer(16, this.#value);
    return this.#value;
  }

  #setKey(key: Uint8Array): void {
    if (key.length !== this.spec.keySize) {
      throw new RangeError(
        `Cannot use a key of ${key.length} bytes in map "${this.name}": ${this.spec.keySize} needed`,
      );
    }
    this.#key.set(key);
  }

  #failure(action: string, cause: unknown): KernelError {
    return new KernelError(
      `Cannot ${action} map "${this.name}": ${describeAccess(errnoOf(cause), this.spec)}`,
      { code: "MAP_ACCESS" },
      { cause },
    );
  }
}

export interface CreateMapOptions {
  /** Template for maps of maps: type, key and value size, and flags of what goes in. */
  readonly inner?: BpfMap;
}

const createAttribute = new BpfAttribute(80);

/**
 * Creates a map, with BTF when its values have a layout.
 * @throws {KernelError} MAP_CREATE, BTF_LOAD, NOT_PERMITTED
 */
export function createMap(spec: MapSpec, options: CreateMapOptions = {}): BpfMap {
  const btf = loadMapBtf(spec);
  const attribute = createAttribute
    .clear()
    .u32(0, spec.type)
    .u32(4, spec.keySize)
    .u32(8, spec.valueSize)
    .u32(12, spec.maxEntries)
    .u32(16, spec.flags)
    .u32(20, options.inner?.fd ?? 0)
    .name(28, spec.name);
  if (btf) attribute.u32(48, btf.fd).u32(52, btf.keyTypeId).u32(56, btf.valueTypeId);
  try {
    return new BpfMap(bpf(BpfCommand.BPF_MAP_CREATE, attribute), spec);
  } catch (cause) {
    throw createFailure(spec, cause);
  } finally {
    // The map holds a reference of its own.
    if (btf) call("close", btf.fd);
  }
}

function createFailure(spec: MapSpec, cause: unknown): KernelError {
  const errno = errnoOf(cause);
  if (errno === "EPERM") return notPermitted(`create map "${spec.name}"`, cause);
  const shape = `type ${typeName(spec.type)}, key ${spec.keySize}, value ${spec.valueSize}, ${spec.maxEntries} entries, flags 0x${spec.flags.toString(16)}`;
  const why =
    errno === "ENOMEM"
      ? "ENOMEM, not enough kernel memory, configure fewer or smaller entries"
      : `${errno}, the kernel makes no map of ${shape}`;
  return new KernelError(
    `Cannot create map "${spec.name}": ${why}`,
    { code: "MAP_CREATE" },
    { cause },
  );
}

/** What the kernel says of a map. */
export interface MapInfo {
  readonly id: number;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
  /** 0 when the map has no BTF. */
  readonly btfId: number;
}

/**
 * Reads `struct bpf_map_info` of a map.
 * @throws {KernelError} MAP_ACCESS
 */
export function mapInfo(fd: number): MapInfo {
  const info = memory(88);
  try {
    objectInfo(fd, info);
  } catch (cause) {
    const errno = errnoOf(cause);
    throw new KernelError(
      `Cannot read what map of file descriptor ${fd} is: ${errno}`,
      { code: "MAP_ACCESS" },
      { cause },
    );
  }
  const view = new DataView(info.buffer);
  const u32 = (at: number): number => view.getUint32(at, true);
  return {
    type: u32(0),
    id: u32(4),
    keySize: u32(8),
    valueSize: u32(12),
    maxEntries: u32(16),
    flags: u32(20),
    name: textAt(info, 24, 16),
    btfId: u32(64),
  };
}

/**
 * Opens the map pinned at `path` and checks that it is what `spec` says.
 * @throws {KernelError} PIN_MISSING, PIN, NO_BPFFS, MAP_MISMATCH (left by another version: remove the pin)
 */
export function openMap(path: string, spec: MapSpec): BpfMap {
  const fd = openPin(path);
  try {
    const differences = differencesOf(mapInfo(fd), spec);
    if (differences.length > 0) {
      throw new KernelError(
        `Cannot use the map pinned at "${path}" as "${spec.name}": ${differences.join(", ")}; it was left by another version, remove the pin`,
        { code: "MAP_MISMATCH" },
      );
    }
  } catch (error) {
    call("close", fd);
    throw error;
  }
  return new BpfMap(fd, spec);
}

// The kernel sets flags of its own when it makes some maps (BPF_F_RDONLY_PROG for a DEVMAP, kernel/bpf/devmap.c).
const COMPARED_FLAGS = MapFlag.BPF_F_NO_PREALLOC | MapFlag.BPF_F_MMAPABLE | MapFlag.BPF_F_INNER_MAP;

function differencesOf(found: MapInfo, spec: MapSpec): string[] {
  const rows: readonly (readonly [string, number, number])[] = [
    ["type", found.type, spec.type],
    ["key size", found.keySize, spec.keySize],
    ["value size", found.valueSize, spec.valueSize],
    ["entries", found.maxEntries, spec.maxEntries],
    ["flags", found.flags & COMPARED_FLAGS, spec.flags & COMPARED_FLAGS],
  ];
  return rows
    .filter(([, is, wanted]) => is !== wanted)
    .map(([what, is, wanted]) => `${what} is ${is}, ${wanted} needed`);
}

const PER_CPU: ReadonlySet<number> = new Set([
  MapType.BPF_MAP_TYPE_PERCPU_HASH,
  MapType.BPF_MAP_TYPE_PERCPU_ARRAY,
]);

/** kernel/bpf/syscall.c bpf_map_value_size() */
const userValueSize = ({ type, valueSize }: MapSpec): number =>
  PER_CPU.has(type) ? roundUp8(valueSize) * possibleCpuCount() : valueSize;

function describeAccess(errno: string, spec: MapSpec): string {
  switch (errno) {
    case "E2BIG":
      return `E2BIG, it has ${spec.maxEntries} entries and no room for another`;
    case "ENOSPC":
      return `ENOSPC, its ${spec.maxEntries} entries are all in use`;
    case "EEXIST":
      return "EEXIST, the key is there already";
    case "ENOENT":
      return "ENOENT, the key is not there";
    case "EBADF":
      return "EBADF, it is closed or not a map";
    default:
      return `${errno} from a map of type ${typeName(spec.type)}`;
  }
}

const typeName = (type: number): string =>
  Object.entries(MapType).find(([, value]) => value === type)?.[0] ?? String(type);

export const roundUp8 = (size: number): number => (size + 7) & ~7;
