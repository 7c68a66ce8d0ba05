/**
 * Where an outer header says it comes from: the director's own address, or, where the operator gave a
 * prefix for it, one of that prefix by the flow, so that backends spread tunnels without ports over
 * their receive queues.
 */
import type { Value } from "../../bpf/value.ts";
import type { Chosen, Director, Flow } from "./context.ts";

/** The address, or its last 32 bits, as they lie in the packet. */
export function emitOuterSource(
  { p, variant }: Director,
  flow: Flow,
  member: Chosen["member"],
  family: 4 | 6,
): { readonly word: Value; readonly isChosen: boolean } {
  const prefix = family === 4 ? variant.outerSources.ipv4 : variant.outerSources.ipv6;
  const own = member.source.word(family === 4 ? 0 : 12, 4).read();
  if (prefix === null) return { word: own, isChosen: false };
  const hostBits = Math.min(32, (family === 4 ? 32 : 128) - prefix.length);
  const mask = hostBits === 32 ? 0xffffffff : 2 ** hostBits - 1;
  // The record has the prefix, host bits zero.
  const host = flow.hash.and(p.constant(mask)).toNetwork(4).raw();
  return { word: own.or(host), isChosen: true };
}
