/** An XDP program that counts packets and bytes by EtherType and lets everything pass. */
import { Helper } from "../../src/bpf/helpers.ts";
import { be16, bytes, pad, struct, u64 } from "../../src/bpf/layout.ts";
import { hash } from "../../src/bpf/maps.ts";
import { xdp, XDP_PASS } from "../../src/bpf/xdp.ts";

const Ethernet = struct(
  "ethernet",
  { destination: bytes(6), source: bytes(6), etherType: be16 },
  { packed: true },
);

// A struct is declared once: it lays out memory in the program, reads it here, and names the fields
// that `bpftool map dump` prints.
export const Kind = struct("kind", { etherType: be16, unused: pad(2) });
export const Count = struct("count", { packets: u64, bytes: u64 });
export const counts = hash("counts", Kind, Count, 64);

export const hello = xdp("hello", (p) => {
  const packet = p.packet();
  const length = packet.length();
  // A guard: shorter packets leave here. The verifier takes no read that was not checked so.
  packet.require(Ethernet.size, XDP_PASS);

  const key = p.zeroed(Kind);
  key.as(Kind).etherType.set(packet.data.as(Ethernet).etherType);

  // An exit is written once, and stands behind the straight path: the first packet of a kind.
  const first = p.exit(() => {
    const count = p.stack(Count.size);
    count.as(Count).packets.set(1);
    count.as(Count).bytes.set(length.u64());
    p.call(Helper.mapUpdate, p.map(counts), key, count, 0);
    p.return(XDP_PASS);
  });
  const count = p.lookupAt(counts, key, first).as(Count);
  count.packets.atomicAdd(1);
  count.bytes.atomicAdd(length.u64());
  p.return(XDP_PASS);
});
