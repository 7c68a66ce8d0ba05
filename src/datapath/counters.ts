/** Counters: packets and bytes per CPU under a small index, a load and a store each. */
import type { FunctionBuilder, Otherwise } from "../bpf/function.ts";
import type { MapSpec } from "../bpf/image.ts";
import type { Scalar, Value } from "../bpf/value.ts";
import { Counter } from "./layout.ts";

/** Emits "one packet of `length` bytes" under `index`; leaves by `otherwise` if there is no such counter. */
export function emitCount(
  p: FunctionBuilder,
  counters: MapSpec,
  index: Scalar,
  length: Value,
  otherwise: Otherwise,
): void {
  const counter = p.lookup(counters, index, otherwise).as(Counter);
  counter.packets.increase(1);
  counter.bytes.increase(length.u64());
}
