/** Records for user space through a ring buffer (kernel/bpf/ringbuf.c): reserved, written, submitted. */
import type { Exit, FunctionBuilder, Otherwise } from "./function.ts";
import { Helper } from "./helpers.ts";
import { type MapSpec, MapType } from "./image.ts";
import type { Fields, Struct } from "./layout.ts";
import type { Value } from "./value.ts";
import type { Pointer, View } from "./view.ts";

/**
 * Writes a record in place: `body` fills it, leaves by `discard` to drop it, and otherwise it is
 * submitted. Leaves by `full` when the buffer has no room.
 * @throws {TypeError} for any other map
 */
export function writeRecord<T extends Fields>(
  f: FunctionBuilder,
  ring: MapSpec,
  layout: Struct<T>,
  full: Otherwise,
  body: (record: View<T>, discard: Exit) => void,
): void {
  requireRing(ring);
  const reserved = f.call(Helper.ringbufReserve, f.map(ring), layout.size, 0);
  f.require(reserved.ne(0), full);
  const record = f.pointer(reserved);
  f.held("the record", () =>
    f.block((done) => {
      f.block((discard) => {
        body(record.as(layout), discard);
        f.call(Helper.ringbufSubmit, record, 0);
        f.goto(done);
      });
      f.call(Helper.ringbufDiscard, record, 0);
    }),
  );
}

/**
 * Copies `size` bytes into the buffer as one record; the result is 0, or negative when it is full.
 * @throws {TypeError} for any other map
 */
export function outputRecord(
  f: FunctionBuilder,
  ring: MapSpec,
  from: Pointer,
  size: number,
): Value {
  requireRing(ring);
  return f.call(Helper.ringbufOutput, f.map(ring), from, size, 0);
}

function requireRing(ring: MapSpec): void {
  if (ring.type !== MapType.BPF_MAP_TYPE_RINGBUF) {
    throw new TypeError(`Cannot write records to map "${ring.name}": it is no ring buffer`);
  }
}
