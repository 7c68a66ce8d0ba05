/** Declares maps. A value layout gives the map its size and its BTF. */
import { MapFlag, type MapSpec, MapType } from "./image.ts";
import type { Layout } from "./layout.ts";

const NAME_LENGTH_MAX = 15;

function declare(spec: MapSpec): MapSpec {
  if (spec.name.length > NAME_LENGTH_MAX || !/^\w+$/.test(spec.name)) {
    throw new RangeError(
      `Cannot declare map "${spec.name}": names have 1 to ${NAME_LENGTH_MAX} letters, digits and underscores`,
    );
  }
  return spec;
}

/** One entry of `valueSize` bytes that programs address directly and user space maps into memory. */
export const globalData = (name: string, valueSize: number): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize,
    maxEntries: 1,
    flags: MapFlag.BPF_F_MMAPABLE,
    value: null,
  });

/** An array with one value per CPU under each index. */
export const perCpuArray = (name: string, value: Layout, maxEntries: number): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_PERCPU_ARRAY,
    keySize: 4,
    valueSize: value.size,
    maxEntries,
    flags: 0,
    value,
  });

/** An array of values that all CPUs share, all there from the start. */
export const array = (name: string, value: Layout, maxEntries: number): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: value.size,
    maxEntries,
    flags: 0,
    value,
  });

/** A hash map, memory taken as entries come. Keys are so many bytes, or a layout. */
export const hash = (
  name: string,
  key: number | Layout,
  value: Layout,
  maxEntries: number,
): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_HASH,
    ...keyOf(key),
    valueSize: value.size,
    maxEntries,
    flags: MapFlag.BPF_F_NO_PREALLOC,
    value,
  });

/**
 * Prefixes of `keySize` bytes: a look-up finds the longest that the key has (kernel/bpf/lpm_trie.c).
 * Keys begin with the length in bits, 32 bits in the machine's byte order.
 */
export const prefixTrie = (
  name: string,
  keySize: number,
  value: Layout,
  maxEntries: number,
): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_LPM_TRIE,
    keySize: 4 + keySize,
    valueSize: value.size,
    maxEntries,
    flags: MapFlag.BPF_F_NO_PREALLOC,
    value,
  });

/** A hash map that forgets what was not used for longest when it is full. */
export const lruHash = (
  name: string,
  key: number | Layout,
  value: Layout,
  maxEntries: number,
): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_LRU_HASH,
    ...keyOf(key),
    valueSize: value.size,
    maxEntries,
    flags: 0,
    value,
  });

/**
 * A ring buffer of `size` bytes, for records to user space (`ring-buffer.ts`).
 * @throws {RangeError} when it is no power of two of whole pages
 */
export function ringBuffer(name: string, size: number): MapSpec {
  if (!Number.isInteger(size) || size < 4096 || (size & (size - 1)) !== 0) {
    throw new RangeError(
      `Cannot declare ring buffer "${name}" of ${size} bytes: a power of two of at least a page is needed`,
    );
  }
  return declare({
    name,
    type: MapType.BPF_MAP_TYPE_RINGBUF,
    keySize: 0,
    valueSize: 0,
    maxEntries: size,
    flags: 0,
    value: null,
  });
}

/**
 * An arena of `pages` pages of the kernel's size: memory that programs and user space share at one
 * address, and take page by page (`arena.ts`, kernel/bpf/arena.c). User space must have mapped it
 * before programs that use it are loaded. Needs `arenas`.
 * @throws {RangeError} for no page, or more than 4 GiB of small ones
 */
export function arenaMap(name: string, pages: number): MapSpec {
  if (!Number.isInteger(pages) || pages < 1 || pages > ARENA_PAGES_MAX) {
    throw new RangeError(
      `Cannot declare arena "${name}" of ${pages} pages: 1 to ${ARENA_PAGES_MAX} are possible`,
    );
  }
  return declare({
    name,
    type: MapType.BPF_MAP_TYPE_ARENA,
    keySize: 0,
    valueSize: 0,
    maxEntries: pages,
    flags: MapFlag.BPF_F_MMAPABLE,
    value: null,
  });
}

const ARENA_PAGES_MAX = 2 ** 32 / 4096;

const keyOf = (key: number | Layout): Pick<MapSpec, "keySize" | "key"> =>
  typeof key === "number" ? { keySize: key } : { keySize: key.size, key };

/** Slots for programs of one type, to jump to by `FunctionBuilder.tailCall`; user space fills them with file descriptors. */
export const progArray = (name: string, maxEntries: number): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_PROG_ARRAY,
    keySize: 4,
    valueSize: 4,
    maxEntries,
    flags: 0,
    value: null,
  });
