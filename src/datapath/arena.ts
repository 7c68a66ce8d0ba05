/** The arena from inside a program: records at run-time offsets, bounded by a constant AND. */
import type { FunctionBuilder } from "../bpf/function.ts";
import { globalData } from "../bpf/maps.ts";
import type { MapSpec } from "../bpf/image.ts";
import type { Fields, Struct } from "../bpf/layout.ts";
import type { Value } from "../bpf/value.ts";
import type { Pointer, View } from "../bpf/view.ts";
import { ARENA_SIZE_MAX } from "../model/arena-size.ts";

/**
 * Declares an arena. `size` must be a power of two: that makes one AND a bounds check.
 * @throws {RangeError} when it is not, or is larger than programs can address
 */
export function declareArena(name: string, size: number): MapSpec {
  if (size > ARENA_SIZE_MAX || size < 4096 || (size & (size - 1)) !== 0) {
    throw new RangeError(
      `Cannot declare an arena of ${size} bytes: a power of two from 4096 to ${ARENA_SIZE_MAX} is needed`,
    );
  }
  return globalData(name, size);
}

export class ArenaAccess {
  readonly #builder: FunctionBuilder;
  readonly #map: MapSpec;

  constructor(builder: FunctionBuilder, map: MapSpec) {
    this.#builder = builder;
    this.#map = map;
  }

  /** The record at an offset known now. */
  fixed<T extends Fields>(layout: Struct<T>, offset: number): View<T> {
    return this.#builder.mapValue(this.#map, offset).as(layout);
  }

  /** The record at an offset known at run time. Its layout's size must be a power of two. */
  record<T extends Fields>(layout: Struct<T>, offset: Value): View<T> {
    return this.pointer(layout.size, offset).as(layout);
  }

  /** `size` bytes, aligned to as much, at an offset known at run time. */
  pointer(size: number, offset: Value): Pointer {
    if ((size & (size - 1)) !== 0) {
      throw new RangeError(
        `Cannot bound a record of ${size} bytes by an AND: a power of two is needed`,
      );
    }
    const bounded = offset.and(this.#map.valueSize - size);
    return this.#builder.mapValue(this.#map).plus(bounded);
  }
}
