/** A packet between its two pointers, as programs over XDP frames and socket buffers see it. */
import type { FunctionBuilder, Otherwise } from "./function.ts";
import type { Value } from "./value.ts";
import { Pointer } from "./view.ts";

/** What is read of it must lie within what was checked. */
export class Packet {
  readonly builder: FunctionBuilder;
  readonly data: Pointer;
  readonly end: Value;

  constructor(builder: FunctionBuilder, data: Value, end: Value) {
    this.builder = builder;
    this.data = new Pointer(builder, data.register);
    this.end = end;
  }

  /** Goes on only where `at` and the `bytes` after it lie in the packet. */
  require(bytes: number, otherwise: Otherwise, at: Pointer = this.data): void {
    this.builder.require(at.plus(bytes).address().le(this.end), otherwise);
  }

  /** Bytes from Ethernet header to the end. */
  length(): Value {
    // In 32 bits at once: the verifier takes the difference of two packet pointers either way.
    return this.end.unchanged(4).sub(this.data.address().unchanged(4));
  }
}
