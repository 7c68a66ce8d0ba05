/**
 * Counters: packets and bytes, one of each for every CPU. They lie in one value that programs address
 * directly, a region for each CPU, so counting is an add without lock, look-up or check; user space
 * reads them as memory.
 */
import type { FunctionBuilder } from "../bpf/function.ts";
import { Helper } from "../bpf/helpers.ts";
import type { MapSpec } from "../bpf/image.ts";
import { globalData } from "../bpf/maps.ts";
import type { Scalar, Value } from "../bpf/value.ts";
import { Counter } from "./layout.ts";

export interface Counters {
  readonly map: MapSpec;
  /** Bytes of one CPU's region, a power of two. */
  readonly regionBytes: number;
}

/** Two cache lines: neighbouring CPUs' regions share none, nor are they fetched in pairs. */
const REGION_BYTES_MIN = 128;

/**
 * Programs may add less than 2^29 to a pointer into a map's value (kernel/bpf/verifier.c,
 * BPF_MAX_VAR_OFF). An array's value may be larger: up to INT_MAX (kernel/bpf/arraymap.c).
 */
export const COUNTERS_SIZE_MAX = 1 << 29;

/** Bytes of `count` counters for `cpus` CPUs, more than `COUNTERS_SIZE_MAX` if they cannot be declared. */
export const countersSize = (count: number, cpus: number): number =>
  powerOfTwoFrom(cpus) * regionSize(count);

/**
 * Declares `count` counters.
 * @param cpus one more than the highest CPU number that can be
 * @throws {RangeError} when they take more than programs can address
 */
export function declareCounters(name: string, count: number, cpus: number): Counters {
  const size = countersSize(count, cpus);
  if (!(count >= 0 && cpus >= 1 && size <= COUNTERS_SIZE_MAX)) {
    throw new RangeError(
      `Cannot declare ${count} counters for ${cpus} CPUs: they take ${size} bytes, at most ${COUNTERS_SIZE_MAX} can be addressed`,
    );
  }
  return { map: globalData(name, size), regionBytes: regionSize(count) };
}

/** Bytes of one CPU's region. */
const regionSize = (count: number): number =>
  powerOfTwoFrom(Math.max(count * Counter.size, REGION_BYTES_MIN));

/** Where counter `index` lies in a CPU's region: what records name counters by. */
export const counterOffset = (index: number): number => index * Counter.size;

/** Emits "one packet of `length` bytes" for the counter at each offset of this CPU's region. */
export function emitCount(
  p: FunctionBuilder,
  { map, regionBytes }: Counters,
  length: Value,
  offsets: readonly Scalar[],
): void {
  const cpu = p.call(Helper.getSmpProcessorId).unchanged(4);
  const region = p
    .mapValue(map)
    .plus(cpu.shl(Math.log2(regionBytes)).and(map.valueSize - regionBytes));
  const long = length.u64();
  for (const offset of offsets) {
    const at = typeof offset === "object" ? offset.and(regionBytes - Counter.size) : offset;
    const counter = region.plus(at).as(Counter);
    counter.packets.increase(1);
    counter.bytes.increase(long);
  }
}

const powerOfTwoFrom = (atLeast: number): number => 2 ** Math.ceil(Math.log2(atLeast));
