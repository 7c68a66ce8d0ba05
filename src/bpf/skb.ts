/** Programs over socket buffers: tc (`BPF_PROG_TYPE_SCHED_CLS`) and socket filters. */
import { FunctionBuilder } from "./function.ts";
import { ProgramType } from "./image.ts";
import { bytes, struct, u32, u64 } from "./layout.ts";
import { Packet } from "./packet.ts";
import { type Program, programOf } from "./program.ts";
import type { Value } from "./value.ts";
import { Pointer, type View } from "./view.ts";

/** `struct __sk_buff` (include/uapi/linux/bpf.h). Which fields can be read depends on the program's type. */
export const SkbContext = struct(
  "__sk_buff",
  {
    length: u32,
    packetType: u32,
    mark: u32,
    queueMapping: u32,
    protocol: u32,
    vlanPresent: u32,
    vlanTci: u32,
    vlanProtocol: u32,
    priority: u32,
    ingressIfindex: u32,
    ifindex: u32,
    tcIndex: u32,
    control: bytes(20),
    hash: u32,
    tcClassid: u32,
    data: u32,
    dataEnd: u32,
    napiId: u32,
    family: u32,
    remoteIp4: u32,
    localIp4: u32,
    remoteIp6: bytes(16),
    localIp6: bytes(16),
    remotePort: u32,
    localPort: u32,
    dataMeta: u32,
    flowKeys: u64,
    timestamp: u64,
    wireLength: u32,
    gsoSegments: u32,
    socket: u64,
    gsoSize: u32,
    timestampType: u32,
    hardwareTimestamp: u64,
  },
  { size: 192 },
);

export class SkbBuilder extends FunctionBuilder {
  readonly contextRegister: Value;

  constructor(name: string) {
    super(name);
    this.contextRegister = this.parameter(0);
  }

  get context(): View<typeof SkbContext.fields> {
    return new Pointer(this, this.contextRegister.register).as(SkbContext);
  }

  /** What of the packet lies in one piece; tc programs only. Ask again after anything that moves it. */
  packet(): Packet {
    const { context } = this;
    // The verifier gives these 32-bit fields 64-bit pointer types.
    return new Packet(this, context.data.read().u64(), context.dataEnd.read().u64());
  }
}

type Body = (p: SkbBuilder) => void;

/** Builds a tc program: it returns a verdict (`TC_ACT_…`, include/uapi/linux/pkt_cls.h). */
export const schedCls = (name: string, body: Body): Program =>
  build(name, ProgramType.BPF_PROG_TYPE_SCHED_CLS, body);

/** Builds a socket filter: it returns how many bytes of the packet the socket gets, 0 for none of it. */
export const socketFilter = (name: string, body: Body): Program =>
  build(name, ProgramType.BPF_PROG_TYPE_SOCKET_FILTER, body);

function build(name: string, type: ProgramType, body: Body): Program {
  const builder = new SkbBuilder(name);
  body(builder);
  return programOf({ name, type, context: SkbContext, function: builder.finish() });
}
