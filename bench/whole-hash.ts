/** The flow hash of all its words, where no service has a part of it ready. */
import type { FunctionBuilder } from "../src/bpf/function.ts";
import type { Value } from "../src/bpf/value.ts";
import { emitFlowHash, type FlowHashKey, type FlowTerm } from "../src/datapath/flow-hash.ts";

/** Emits the hash of `words`, 32-bit values zero-extended to 64; returns a 32-bit value. */
export function emitWholeHash(
  p: FunctionBuilder,
  key: FlowHashKey,
  words: readonly Value[],
): Value {
  const terms = words.map((word, index): FlowTerm => [index + 1, word]);
  // The last word is the last that is written before the program runs: its product is begun first.
  const order = [...terms.slice(-1), ...terms.slice(0, -1)];
  return emitFlowHash(p, key, p.constant(key[0] ?? 0n, 8), order);
}
