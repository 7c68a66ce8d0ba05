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

/** A hash map, memory taken as entries come. */
export const hash = (name: string, keySize: number, value: Layout, maxEntries: number): MapSpec =>
  declare({
    name,
    type: MapType.BPF_MAP_TYPE_HASH,
    keySize,
    valueSize: value.size,
    maxEntries,
    flags: MapFlag.BPF_F_NO_PREALLOC,
    value,
  });

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
