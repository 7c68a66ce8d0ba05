/**
 * Loops that the verifier does not walk round by round: over numbers by an open-coded iterator
 * (Linux 6.4, kernel/bpf/bpf_iter.c), and by a function called for each (`bpf_loop`, Linux 5.17).
 * Small constant counts are better written out by JavaScript's own `for`, or `FunctionBuilder.repeat`.
 */
import type { FunctionBuilder, Loop } from "./function.ts";
import { Helper } from "./helpers.ts";
import type { FunctionIr } from "./ir.ts";
import { Kfunc } from "./kfuncs.ts";
import type { Scalar, Value } from "./value.ts";
import type { Pointer } from "./view.ts";

const ITERATOR_SIZE = 8;

/**
 * Runs `body` for each number from `from` to before `to`. Leave it by `loop.done` only: the iterator
 * must be given back. Needs `openCodedIterators`.
 */
export function forEachNumber(
  f: FunctionBuilder,
  from: Scalar,
  to: Scalar,
  body: (index: Value, loop: Loop) => void,
): void {
  const iterator = f.stack(ITERATOR_SIZE);
  f.call(Kfunc.iteratorNew, iterator, from, to);
  f.held("the iterator", () =>
    f.loop((loop) => {
      const item = f.call(Kfunc.iteratorNext, iterator);
      f.require(item.ne(0), loop.done);
      body(f.pointer(item).place(4).read(), loop);
    }),
  );
  f.call(Kfunc.iteratorDestroy, iterator);
}

/**
 * Calls `body` (a function of a 32-bit index and the address `context`) `count` times at most; it
 * ends the loop by returning 1. Returns how often it was called.
 */
export function callEach(
  f: FunctionBuilder,
  count: Scalar,
  body: FunctionIr,
  context: Pointer | number,
): Value {
  return f.call(Helper.loop, count, f.functionAddress(body), context, 0);
}
