/** XDP programs: their context and their verdicts. */
import { ProgramType } from "./image.ts";
import { FunctionBuilder } from "./function.ts";
import { struct, u32 } from "./layout.ts";
import { Packet } from "./packet.ts";
import { type Program, programOf } from "./program.ts";
import type { Value } from "./value.ts";
import { Pointer, type View } from "./view.ts";

export type { Packet } from "./packet.ts";

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
