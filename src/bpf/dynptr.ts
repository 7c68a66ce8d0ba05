/**
 * Dynptrs: memory whose size is known when the program runs, behind a pointer that checks
 * (kernel/bpf/helpers.c, Linux 5.19). Here over a map's value, or a record of a ring buffer.
 */
import type { Exit, FunctionBuilder, Otherwise } from "./function.ts";
import { Helper } from "./helpers.ts";
import type { MapSpec } from "./image.ts";
import type { Scalar, Value } from "./value.ts";
import type { Pointer } from "./view.ts";

const DYNPTR_SIZE = 16;

export class Dynptr {
  readonly #f: FunctionBuilder;
  readonly #state: Pointer;

  constructor(f: FunctionBuilder, state: Pointer) {
    this.#f = f;
    this.#state = state;
  }

  /** Copies `length` bytes from `offset` to `into`; the result is 0, or negative when outside. */
  read(into: Pointer, length: Scalar, offset: Scalar): Value {
    return this.#f.call(Helper.dynptrRead, into, length, this.#state, offset, 0);
  }

  /** Copies `length` bytes at `from` to `offset`; the result is 0, or negative when outside. */
  write(offset: Scalar, from: Pointer, length: Scalar): Value {
    return this.#f.call(Helper.dynptrWrite, this.#state, offset, from, length, 0);
  }

  /** The `length` bytes (a constant) at `offset` themselves; leaves by `outside` when they are not all there. */
  slice(offset: Scalar, length: number, outside: Otherwise): Pointer {
    const data = this.#f.call(Helper.dynptrData, this.#state, offset, length);
    this.#f.require(data.ne(0), outside);
    return this.#f.pointer(data);
  }
}

/** A dynptr over `size` bytes of a map's value. */
export function dynptrOver(f: FunctionBuilder, memory: Pointer, size: Scalar): Dynptr {
  const state = f.stack(DYNPTR_SIZE);
  f.call(Helper.dynptrFromMem, memory, size, 0, state);
  return new Dynptr(f, state);
}

/**
 * A record of `size` bytes, known when the program runs, for user space. `body` may leave by
 * `discard`; a record the buffer had no room for is empty, and given back all the same.
 */
export function writeSizedRecord(
  f: FunctionBuilder,
  ring: MapSpec,
  size: Scalar,
  body: (record: Dynptr, discard: Exit) => void,
): void {
  const state = f.stack(DYNPTR_SIZE);
  f.call(Helper.ringbufReserveDynptr, f.map(ring), size, 0, state);
  f.held("the record", () =>
    f.block((done) => {
      f.block((discard) => {
        body(new Dynptr(f, state), discard);
        f.call(Helper.ringbufSubmitDynptr, state, 0);
        f.goto(done);
      });
      f.call(Helper.ringbufDiscardDynptr, state, 0);
    }),
  );
}
