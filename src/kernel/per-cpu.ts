/**
 * Reads per-CPU arrays. Every CPU has a value of its own, which only programs on that CPU write; the
 * readers here get them all, or the sums of values that are nothing but u64 counters.
 */
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { memory } from "./libc.ts";
import type { BpfMap } from "./maps.ts";
import { possibleCpuCount } from "./possible-cpus.ts";

/**
 * The values of `count` entries from `index` on: `[entry][cpu]`, each `spec.valueSize` bytes.
 * @throws {KernelError} MAP_ACCESS
 */
export function readPerCpu(
  map: BpfMap,
  index: number,
  count: number,
): readonly (readonly Uint8Array[])[] {
  const values = readRange(map, index, count);
  const stride = map.userValueSize / possibleCpuCount();
  return Array.from({ length: count }, (_, entry) =>
    Array.from({ length: possibleCpuCount() }, (_, cpu) => {
      const at = entry * map.userValueSize + cpu * stride;
      return values.slice(at, at + map.spec.valueSize);
    }),
  );
}

/**
 * Sums of `count` entries from `index` on whose values are u64 fields: field `f` of entry `e` is at
 * `e * valueSize / 8 + f`. The sums wrap at 2^64, like the counters.
 * @throws {KernelError} MAP_ACCESS
 */
export function sumPerCpu(map: BpfMap, index: number, count: number): BigUint64Array {
  const { valueSize } = map.spec;
  if (valueSize % 8 !== 0) {
    throw new RangeError(
      `Cannot sum map "${map.name}": its values of ${valueSize} bytes are not u64 fields`,
    );
  }
  const values = new Uint32Array(readRange(map, index, count).buffer);
  return sumWords(values, count, possibleCpuCount(), valueSize / 8);
}

/**
 * Adds up in halves of 32 bits, since arithmetic on bigints takes many times as long. Exact: sums of
 * halves stay below 2^53 for two million CPUs.
 */
function sumWords(
  values: Uint32Array,
  count: number,
  cpus: number,
  fields: number,
): BigUint64Array {
  const sums = new BigUint64Array(count * fields);
  const halves = new Uint32Array(sums.buffer);
  for (let at = 0; at < count * fields; at++) {
    const entry = Math.floor(at / fields);
    let from = 2 * (entry * cpus * fields + (at % fields));
    let low = 0;
    let high = 0;
    for (let cpu = 0; cpu < cpus; cpu++) {
      low += values[from] as number;
      high += values[from + 1] as number;
      from += 2 * fields;
    }
    halves[2 * at] = low;
    halves[2 * at + 1] = high + Math.floor(low / 2 ** 32);
  }
  return sums;
}

/** `count` user-space values from `index` on, one after another. */
function readRange(map: BpfMap, index: number, count: number): Uint8Array {
  if (index < 0 || count < 1 || index + count > map.spec.maxEntries) {
    throw new RangeError(
      `Cannot read entries ${index} to ${index + count - 1} of map "${map.name}": it has ${map.spec.maxEntries}`,
    );
  }
  const keys = memory(4 * count);
  const values = memory(count * map.userValueSize);
  const previous = memory(4);
  const next = memory(4);
  const attribute = new BpfAttribute(56).pointer(8, next).pointer(16, keys).pointer(24, values);
  attribute.u32(32, count).u32(36, map.fd);
  if (index > 0) {
    // kernel/bpf/syscall.c generic_map_lookup_batch(): the position is the key before the first.
    new DataView(previous.buffer).setUint32(0, index - 1, true);
    attribute.pointer(0, previous);
  }
  try {
    bpf(BpfCommand.BPF_MAP_LOOKUP_BATCH, attribute);
  } catch (cause) {
    // ENOENT: the last entry of the map was among them.
    if (errnoOf(cause) !== "ENOENT") throw failure(map, errnoOf(cause), cause);
  }
  const first = new DataView(keys.buffer).getUint32(0, true);
  if (attribute.readU32(32) !== count || first !== index) {
    throw failure(
      map,
      `${attribute.readU32(32)} entries from ${first} came instead of ${count} from ${index}`,
    );
  }
  return values;
}

const failure = (map: BpfMap, why: string, cause?: unknown): KernelError =>
  new KernelError(`Cannot read map "${map.name}": ${why}`, { code: "MAP_ACCESS" }, { cause });
