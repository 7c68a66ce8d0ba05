/** Takes headers off an XDP frame, from behind the Ethernet header and its VLAN tags. */
import { Helper } from "../../bpf/helpers.ts";
import type { XdpBuilder } from "../../bpf/xdp.ts";
import { ETH_P_IP, ETH_P_IPV6, Ethernet, Vlan } from "../../packet/headers.ts";
import type { Agent } from "./context.ts";

/** Emits that; goes on with a frame whose IP packet is of family `inner`. */
export function emitStrip(
  p: XdpBuilder,
  { packet, leave, link: { tagBytes } }: Pick<Agent, "packet" | "leave" | "link">,
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
