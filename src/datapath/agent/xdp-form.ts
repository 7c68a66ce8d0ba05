/** The agent's program over XDP frames: headers come off by moving the frame's start. */
import { Helper } from "../../bpf/helpers.ts";
import type { XdpBuilder } from "../../bpf/xdp.ts";
import { ETH_P_IP, ETH_P_IPV6, Ethernet, Tcp, Udp, Vlan } from "../../packet/headers.ts";
import { emitChangeChecksum } from "../checksum.ts";
import type { Agent, AgentForm, TransportChange } from "./context.ts";

type Frame = Pick<Agent, "packet" | "leave" | "link">;

export const xdpForm = (p: XdpBuilder, frame: Frame): AgentForm => ({
  strip: (headerBytes, inner) => emitStrip(p, frame, headerBytes, inner),
  headerChanged: () => {},
  changeTransport: (change) => emitChangeTransport(p, frame, change),
});

function emitStrip(
  p: XdpBuilder,
  { packet, leave, link: { tagBytes } }: Frame,
  headerBytes: number,
  inner: 4 | 6,
): void {
  const isTagged = typeof tagBytes === "object";
  const linkBytes = Ethernet.size + (isTagged ? TAGS_MAX * Vlan.size : 0);
  // Behind the most tags there can be lies the rest of two IP headers: it is always there.
  if (isTagged) packet.require(linkBytes, leave.too_short);
  const macs = [packet.data.place(8).read(), packet.data.plus(8).place(4).read()] as const;
  const tags = isTagged
    ? ([packet.data.plus(12).place(4).read(), packet.data.plus(16).place(4).read()] as const)
    : null;
  const moved = p.call(Helper.xdpAdjustHead, p.contextRegister, headerBytes);
  p.require(moved.u32().eq(0), leave.no_room);
  const stripped = p.packet();
  const { data } = stripped;
  stripped.require(linkBytes, leave.no_room);
  data.place(8).set(macs[0]);
  data.plus(8).place(4).set(macs[1]);
  const setEtherType = (count: number): void =>
    data
      .plus(12 + count * Vlan.size)
      .place(2, "network")
      .set(inner === 4 ? ETH_P_IP : ETH_P_IPV6);
  if (tags === null || !isTagged) {
    setEtherType(0);
    return;
  }
  p.if(
    tagBytes.eq(0),
    () => setEtherType(0),
    () => {
      data.plus(12).place(4).set(tags[0]);
      p.if(
        tagBytes.eq(Vlan.size),
        () => setEtherType(1),
        () => {
          data.plus(16).place(4).set(tags[1]);
          setEtherType(2);
        },
      );
    },
  );
}

const TAGS_MAX = 2;

function emitChangeTransport(
  p: XdpBuilder,
  { packet, leave }: Frame,
  { transport, isTcp, change }: TransportChange,
): void {
  p.if(
    isTcp.ne(0),
    () => {
      packet.require(Tcp.size, leave.malformed, transport);
      emitChangeChecksum(transport.plus(Tcp.offsets.checksum), change);
    },
    () => {
      const field = transport.plus(Udp.offsets.checksum);
      p.if(field.place(2).read().ne(0), () => {
        emitChangeChecksum(field, change);
        p.if(field.place(2).read().eq(0), () => field.place(2).set(0xffff));
      });
    },
  );
}
