/**
 * Whole maps in few calls: BPF_MAP_LOOKUP_BATCH and BPF_MAP_UPDATE_BATCH in chunks (65 537 updates
 * one by one take twenty times as long).
 */
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { memory } from "./libc.ts";
import type { BpfMap } from "./maps.ts";
import { UpdateFlag } from "./maps.ts";

/** Some entries of a map. The bytes are valid until the next chunk. */
export interface MapChunk {
  readonly count: number;
  /** `count` keys of `spec.keySize` bytes. */
  readonly keys: Uint8Array;
  /** `count` values of `userValueSize` bytes. */
  readonly values: Uint8Array;
}

const CHUNK_BYTES = 1 << 20;
const MIN_CHUNK_ENTRIES = 64;

/**
 * Reads a map chunk by chunk. Entries that come, go or change meanwhile may or may not be seen;
 * those that stay are seen once.
 * @throws {KernelError} MAP_ACCESS
 */
export function* readChunks(map: BpfMap): Generator<MapChunk> {
  const { keySize } = map.spec;
  const attribute = new BpfAttribute(56);
  // For hash maps the position is a bucket number of 4 bytes, elsewhere the last key.
  const position = memory(Math.max(keySize, 4));
  let entries = chunkEntries(map);
  let keys = memory(entries * keySize);
  let values = memory(entries * map.userValueSize);
  let started = false;
  for (;;) {
    attribute.clear().pointer(8, position).pointer(16, keys).pointer(24, values);
    attribute.u32(32, entries).u32(36, map.fd);
    if (started) attribute.pointer(0, position);
    let last = false;
    try {
      bpf(BpfCommand.BPF_MAP_LOOKUP_BATCH, attribute);
    } catch (cause) {
      const errno = errnoOf(cause);
      if (errno === "ENOSPC") {
        // A hash bucket holds more entries than the chunk has room for: kernel/bpf/hashtab.c.
        entries *= 2;
        keys = memory(entries * keySize);
        values = memory(entries * map.userValueSize);
        continue;
      }
      if (errno !== "ENOENT") throw failure("read", map, cause);
      last = true;
    }
    started = true;
    const count = attribute.readU32(32);
    if (count > 0) {
      yield {
        count,
        keys: keys.subarray(0, count * keySize),
        values: values.subarray(0, count * map.userValueSize),
      };
    }
    if (last) return;
  }
}

/**
 * Writes many entries: `keys` and `values` lie one after another, as many of one as of the other.
 * @throws {KernelError} MAP_ACCESS; entries before the one that failed are written
 * @throws {RangeError} when keys and values do not match
 */
export function updateMany(
  map: BpfMap,
  keys: Uint8Array,
  values: Uint8Array,
  flags: UpdateFlag = UpdateFlag.BPF_ANY,
): void {
  const { keySize } = map.spec;
  const count = keys.length / keySize;
  if (!Number.isInteger(count) || values.length !== count * map.userValueSize) {
    throw new RangeError(
      `Cannot update map "${map.name}": ${keys.length} bytes of keys and ${values.length} of values are not the same number of entries`,
    );
  }
  const entries = Math.min(chunkEntries(map), count);
  const keyChunk = memory(entries * keySize);
  const valueChunk = memory(entries * map.userValueSize);
  const attribute = new BpfAttribute(56);
  for (let done = 0; done < count; done += entries) {
    const size = Math.min(entries, count - done);
    keyChunk.set(keys.subarray(done * keySize, (done + size) * keySize));
    valueChunk.set(values.subarray(done * map.userValueSize, (done + size) * map.userValueSize));
    attribute.clear().pointer(16, keyChunk).pointer(24, valueChunk);
    attribute.u32(32, size).u32(36, map.fd).u64(40, flags);
    try {
      bpf(BpfCommand.BPF_MAP_UPDATE_BATCH, attribute);
    } catch (cause) {
      throw failure(`write entry ${done + attribute.readU32(32)} of ${count} to`, map, cause);
    }
  }
}

const chunkEntries = (map: BpfMap): number => {
  const fitting = Math.floor(CHUNK_BYTES / (map.spec.keySize + map.userValueSize));
  return Math.min(map.spec.maxEntries, Math.max(MIN_CHUNK_ENTRIES, fitting));
};

const failure = (action: string, map: BpfMap, cause: unknown): KernelError =>
  new KernelError(
    `Cannot ${action} map "${map.name}" in a batch: ${errnoOf(cause)}`,
    { code: "MAP_ACCESS" },
    { cause },
  );
