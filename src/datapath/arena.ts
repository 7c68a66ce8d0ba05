/** The arena from inside a program: records at run-time offsets, bounded by a constant AND. */
import type { FunctionBuilder } from "../bpf/function.ts";
import { globalData } from "../bpf/maps.ts";
import type { MapSpec } from "../bpf/image.ts";
import type { Fields, Struct } from "../bpf/layout.ts";
import type { Value } from "../bpf/value.ts";
import type { Pointer, View } from "../bpf/view.ts";
import { ARENA_SIZE_MAX } from "../model/arena-size.ts";

export interface ArenaMap {
  readonly map: MapSpec;
  /** Bytes that regions are taken from, a power of two: that makes one AND a bounds check. */
  readonly size: number;
}

/**
 * Declares an arena of `size` bytes. `reach` more bytes lie behind it, which nobody fills: so a program
 * that has bounded where a region begins may go that far in it.
 * @throws {RangeError} when `size` is not a power of two, or is larger than programs can address
 */
export function declareArena(name: string, size: number, reach = 0): ArenaMap {
  if (size > ARENA_SIZE_MAX || size < 4096 || (size & (size - 1)) !== 0) {
    throw new RangeError(
      `Cannot declare an arena of ${size} bytes: a power of two from 4096 to ${ARENA_SIZE_MAX} is needed`,
    );
  }
  return { map: globalData(name, size + reach), size };
}

export class ArenaAccess {
  readonly #builder: FunctionBuilder;
  readonly #map: MapSpec;
  readonly #size: number;

  constructor(builder: FunctionBuilder, { map, size }: ArenaMap) {
    this.#builder = builder;
    this.#map = map;
    this.#size = size;
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
    const bounded = offset.and(this.#size - size);
    return this.#builder.mapValue(this.#map).plus(bounded);
  }
}
