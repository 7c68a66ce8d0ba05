/** XDP programs: their context, their verdicts, and the packet with its bounds. */
import { ProgramType } from "./image.ts";
import { FunctionBuilder, type Otherwise } from "./function.ts";
import { struct, u32 } from "./layout.ts";
import { type Program, programOf } from "./program.ts";
import type { Value } from "./value.ts";
import { Pointer, type View } from "./view.ts";

/** Verdicts (include/uapi/linux/bpf.h, enum xdp_action). */
export const XDP_DROP = 1;
export const XDP_PASS = 2;
export const XDP_TX = 3;
export const XDP_REDIRECT = 4;

/** `struct xdp_md`. */
export const XdpContext = struct("xdp_md", {
  data: u32,
  dataEnd: u32,
  dataMeta: u32,
  ingressIfindex: u32,
  rxQueueIndex: u32,
  egressIfindex: u32,
});

/** A packet between its two pointers. What is read of it must lie within what was checked. */
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

export class XdpBuilder extends FunctionBuilder {
  readonly contextRegister: Value;

  constructor(name: string) {
    super(name);
    this.contextRegister = this.parameter(0);
  }

  get context(): View<typeof XdpContext.fields> {
    return new Pointer(this, this.contextRegister.register).as(XdpContext);
  }

  /** The packet as it is now: ask again after anything that moves it (`bpf_xdp_adjust_head`). */
  packet(): Packet {
    const { context } = this;
    // The verifier gives these 32-bit fields 64-bit pointer types.
    return new Packet(this, context.data.read().u64(), context.dataEnd.read().u64());
  }
}

/** Builds an XDP program. */
export function xdp(name: string, body: (p: XdpBuilder) => void): Program {
  const builder = new XdpBuilder(name);
  body(builder);
  return programOf({
    name,
    type: ProgramType.BPF_PROG_TYPE_XDP,
    context: XdpContext,
    function: builder.finish(),
  });
}
