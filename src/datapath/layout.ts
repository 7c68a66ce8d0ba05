/**
 * What the programs and user space share. Everything a forwarding decision needs lies in one arena,
 * a single map value that programs address directly; offsets in it are bytes from its start.
 *
 *     ArenaHeader ──> IndexHead ──> displacements, slots: ServiceSlot ──┬──> buckets: u32 each
 *     (one store      (service      (a perfect hash,                    └──> members: Member each ──> NextHop
 *      publishes)      index)        director/service-index.ts)
 *
 * Records are aligned to their size, so that `offset & (arena size - record size)` can never leave
 * the arena: that AND is the bounds check the verifier sees.
 */
import { bytes, pad, struct, u16, u32, u64, u8 } from "../bpf/layout.ts";

/** At offset 0. */
export const ArenaHeader = struct("arena_header", {
  /** Offset of the current `IndexHead`; storing it publishes a new set of services. */
  index: u32,
  _reserved: pad(60),
});

/** Where the two tables of one address family lie. */
const family = {
  displacements: u32,
  displacementMask: u32,
  slots: u32,
  slotMask: u32,
} as const;

export const IndexHead = struct(
  "index_head",
  {
    /** An odd multiplier, chosen by user space so that the index has no collision. */
    seed: u64,
    _aligned: pad(8),
    ipv4Displacements: family.displacements,
    ipv4DisplacementMask: family.displacementMask,
    ipv4Slots: family.slots,
    ipv4SlotMask: family.slotMask,
    ipv6Displacements: family.displacements,
    ipv6DisplacementMask: family.displacementMask,
    ipv6Slots: family.slots,
    ipv6SlotMask: family.slotMask,
    _reserved: pad(16),
  },
  { size: 64 },
);

/** One service address: a VIP, a protocol and a port. The key of an unused slot is one no packet has. */
export const ServiceSlot = struct(
  "service_slot",
  {
    /** The key as the packet's bytes give it: see `director/service-index.ts`. */
    key0: u64,
    key1: u64,
    key2: u32,
    /** Offset of the pool's buckets. */
    buckets: u32,
    /** Number of buckets less one, times four: ANDs a shifted hash to a bucket's offset. */
    bucketMask: u32,
    /** Offset of the pool's members. */
    members: u32,
    /** Offset of the service's counter in a CPU's region. */
    counter: u32,
    /** Offset of the counter of the pool's member 0; the others follow. */
    memberCounters: u32,
    _reserved: pad(24),
  },
  { size: 64 },
);

/**
 * A bucket: who owns it, and the chain of those who did. Chain 0 means settled. Always read and
 * written as one aligned 32-bit word, owner in the low half.
 */
export const Bucket = struct("bucket", { owner: u16, chain: u16 }, { size: 4 });
/** The owner of every bucket of a pool with no usable member. */
export const NO_OWNER = 0xffff;

/** How a member's packets leave; 0 is an unused record. */
export const ForwardingCode = { none: 0, l2: 1, ipipOverIpv4: 2, ipipOverIpv6: 3 } as const;
export type ForwardingCode = (typeof ForwardingCode)[keyof typeof ForwardingCode];

/** A backend as a member of one pool: one cache line. */
export const Member = struct(
  "member",
  {
    /** Offset of the next hop. */
    nextHop: u32,
    forwarding: u8,
    _aligned: pad(1),
    /** Largest IP packet, outer header and all, that the way to the next hop takes. */
    mtu: u16,
    /** Ones' complement sum of the constant words of an outer IPv4 header around IPv4, not folded. */
    outerSum: u32,
    _more: pad(4),
    /** Outer addresses, network order; IPv4 in the first four bytes. */
    source: bytes(16),
    destination: bytes(16),
    _reserved: pad(16),
  },
  { size: 64 },
);

/**
 * A resolved neighbour. `addresses` is the start of the Ethernet header as one word (destination and
 * the first two bytes of the source), so that a neighbour's new MAC takes effect by one store; zero
 * in its low 48 bits means unresolved.
 */
export const NextHop = struct(
  "next_hop",
  {
    addresses: u64,
    /** The last four bytes of the source MAC. */
    sourceRest: u32,
    /** Interface it is reached by. */
    ifindex: u32,
    _reserved: pad(16),
  },
  { size: 32 },
);

export const Counter = struct("counter", { packets: u64, bytes: u64 });
