/**
 * Loads of classic BPF (`BPF_LD_ABS`, `BPF_LD_IND`; RFC 9669 §5.5), for programs over socket buffers.
 * They need no bounds checked and read what lies in fragments too, but each may be a call: r1 to r5
 * are lost, the context waits in r6.
 */
import type { FunctionBuilder } from "./function.ts";
import type { Size } from "./isa.ts";
import { SkbBuilder } from "./skb.ts";
import { define, requireOwn, type Value } from "./value.ts";

/** Offsets from the network and the link-layer header instead of the packet's start (include/uapi/linux/filter.h). */
export const SKF_NET_OFF = -0x100000;
export const SKF_LL_OFF = -0x200000;

/**
 * The `size` bytes at `offset`, or `index` and `offset`, of the packet: a number in network order there,
 * in host order here. The program returns 0 when the packet has none there.
 * @throws {TypeError} in a program over something else, in a function of one, or where something is held
 * @throws {RangeError} for 8 bytes, or an offset of more than 32 bits
 */
export function loadPacket(
  f: FunctionBuilder,
  size: Size,
  offset: number,
  index: Value | null = null,
): Value {
  if (!(f instanceof SkbBuilder)) {
    throw new TypeError(
      `Cannot load from the packet in "${f.name}": only programs over socket buffers (tc, socket filters) can, elsewhere check bounds and use a pointer`,
    );
  }
  if (size === 8) {
    throw new RangeError("Cannot load 8 bytes of the packet at once: 1, 2 or 4 are possible");
  }
  if (!Number.isInteger(offset) || offset !== (offset | 0)) {
    throw new RangeError(`Cannot load from the packet at ${offset}: no whole number of 32 bits`);
  }
  if (index?.order === "network") {
    throw new TypeError(
      "Cannot load from the packet at an index in network order: convert it with toHost() first",
    );
  }
  if (index !== null) requireOwn(f, index.emitter);
  f.requireNothingHeld();
  const { register: context } = f.contextRegister;
  const load = { op: "packetLoad", context, index: index?.register ?? null, offset, size } as const;
  return define(f, size, (to) => ({ ...load, to }));
}
