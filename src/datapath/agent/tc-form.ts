/**
 * The agent's program over socket buffers, for drivers without native XDP: frames that were joined on
 * receipt (GRO) stay joined, and what the kernel knows of their checksums stays right.
 */
import { Helper } from "../../bpf/helpers.ts";
import type { SkbBuilder } from "../../bpf/skb.ts";
import type { Value } from "../../bpf/value.ts";
import { ETH_P_IP, ETH_P_IPV6, Ethernet, Tcp, Udp } from "../../packet/headers.ts";
import { folded } from "../checksum.ts";
import type { Agent, AgentForm, TransportChange } from "./context.ts";

/** `enum bpf_adj_room_mode` and `bpf_skb_adjust_room` flags, include/uapi/linux/bpf.h. */
const BPF_ADJ_ROOM_MAC = 1;
const BPF_F_ADJ_ROOM_FIXED_GSO = 1 << 0;
/** Since Linux 6.3: which family it is afterwards. */
const BPF_F_ADJ_ROOM_DECAP_L3_IPV4 = 1 << 7;
const BPF_F_ADJ_ROOM_DECAP_L3_IPV6 = 1 << 8;

/** `bpf_l4_csum_replace` flags. */
const BPF_F_PSEUDO_HDR = 1 << 4;
const BPF_F_MARK_MANGLED_0 = 1 << 5;

type Buffer = Pick<Agent, "leave">;

export const tcForm = (p: SkbBuilder, { leave }: Buffer): AgentForm => ({
  strip: (headerBytes, inner) => {
    const family = inner === 4 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV4 : BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
    const flags = BPF_F_ADJ_ROOM_FIXED_GSO | family;
    const taken = p.call(
      Helper.skbAdjustRoom,
      p.contextRegister,
      -headerBytes,
      BPF_ADJ_ROOM_MAC,
      flags,
    );
    p.require(taken.u32().eq(0), leave.no_room);
    const stripped = p.packet();
    stripped.require(Ethernet.size, leave.no_room);
    // The kernel has set what it goes by; this is for those who look at the frame.
    stripped.data.as(Ethernet).etherType.set(inner === 4 ? ETH_P_IP : ETH_P_IPV6);
  },
  headerChanged: (change) => emitUpdate(p, change),
  changeTransport: (change) => emitChangeTransport(p, leave, change),
});

/** A sum over the whole packet that the network card made follows. */
function emitUpdate(p: SkbBuilder, change: Value): void {
  p.call(Helper.csumUpdate, p.contextRegister, folded(change).u64());
}

function emitChangeTransport(
  p: SkbBuilder,
  leave: Agent["leave"],
  { offset, isTcp, change }: TransportChange,
): void {
  const difference = folded(change).u64();
  const field = p.variable(offset.add(Tcp.offsets.checksum));
  const flags = p.variable(BPF_F_PSEUDO_HDR);
  p.if(isTcp.eq(0), () => {
    field.set(offset.add(Udp.offsets.checksum));
    flags.set(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
  });
  const changed = p.call(Helper.l4CsumReplace, p.contextRegister, field, 0, difference, flags);
  p.require(changed.u32().eq(0), leave.internal);
}
