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
import { bytes, pad, struct, u16, u32, u64 } from "../bpf/layout.ts";

/** At offset 0. */
export const ArenaHeader = struct("arena_header", {
  /** Offset of the current `IndexHead`; storing it publishes a new set of services. */
  index: u32,
  _reserved: pad(60),
});

/** The start of a service index. Where its tables lie is a constant of the program: `indexLayout()`. */
export const IndexHead = struct(
  "index_head",
  {
    /** An odd multiplier, chosen by user space so that the index has no collision. */
    seed: u64,
    _reserved: pad(56),
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
    /** Which words of the packet the service's hash key has: `HashWords`. */
    hashWords: u32,
    /** What VIP, port and protocol add to the flow hash, the same for all flows. */
    hashSum: u64,
    /** Where services go on that a single key does not find, as a `Branch` to `PortBranches`; 0 is none. */
    wide: u32,
    /** Offset of a byte for each member of the pool: what a `dscp` member knows this VIP by. */
    codePoints: u32,
    _reserved: pad(8),
  },
  { size: 64 },
);

/** Bits of `ServiceSlot.hashWords`. */
export const HashWords = { sourcePort: 1, vip: 2, servicePort: 4, protocol: 8 } as const;

export const FIVE_TUPLE =
  HashWords.sourcePort | HashWords.vip | HashWords.servicePort | HashWords.protocol;

/**
 * Services with ranges of ports, all ports or prefixes of addresses are found by branches: first by the
 * bits of the address behind those that the index was asked with, eight at a time, then by protocol,
 * then by the port, its upper byte first. A branch is 0 for nothing; odd, less 1, where the search
 * ends; else the offset of `BRANCHES` more.
 */
export const BRANCHES = 256;
export const BRANCH_SIZE = 4;
export const BRANCH_END = 1;

/** Where the search by address ends: for each kind of protocol a branch, in the end to a `ServiceSlot`. */
export const PortBranches = struct(
  "port_branches",
  { tcp: u32, udp: u32, other: u32, _reserved: pad(4) },
  { size: 16 },
);

/**
 * A bucket: who owns it, and the chain of those who did. Chain 0 means settled. Always read and
 * written as one aligned 32-bit word, owner in the low half.
 */
export const Bucket = struct("bucket", { owner: u16, chain: u16 }, { size: 4 });
/** The owner of every bucket of a pool with no usable member. */
export const NO_OWNER = 0xffff;

/** How a member's packets leave; 0 is an unused record. */
export const ForwardingCode = {
  none: 0,
  l2: 1,
  ipipOverIpv4: 2,
  ipipOverIpv6: 3,
  greOverIpv4: 4,
  greOverIpv6: 5,
  fouOverIpv4: 6,
  fouOverIpv6: 7,
  gueOverIpv4: 8,
  gueOverIpv6: 9,
  dscp: 10,
} as const;
export type ForwardingCode = (typeof ForwardingCode)[keyof typeof ForwardingCode];

/** A backend as a member of one pool: one cache line. */
export const Member = struct(
  "member",
  {
    /** `wayOf()`: what is done with its packets, and by which interface they leave, in one word. */
    way: u32,
    /** Offset of the next hop. */
    nextHop: u32,
    /** Offset of its counter in a CPU's region. */
    counter: u32,
    /** Largest IP packet, outer header and all, that the way to the next hop takes. */
    mtu: u16,
    _aligned: pad(2),
    /** Ones' complement sum of the constant words of an outer IPv4 header around IPv4, not folded. */
    outerSum: u32,
    _more: pad(4),
    /** Outer addresses, network order; IPv4 in the first four bytes. */
    source: bytes(16),
    destination: bytes(16),
    _reserved: pad(8),
  },
  { size: 64 },
);

const FORWARDING_BITS = 8;
export const FORWARDING_MASK = (1 << FORWARDING_BITS) - 1;

/**
 * A member's way: the forwarding in the low byte, the interface above. 0 stands for an interface whose
 * number does not fit: packets are then sent by what the next hop says.
 */
export const wayOf = (forwarding: ForwardingCode, ifindex: number): number =>
  (ifindex < 2 ** (32 - FORWARDING_BITS) ? ifindex * 2 ** FORWARDING_BITS : 0) + forwarding;

/**
 * A resolved neighbour. `addresses` is the start of the Ethernet header as one word (destination and
 * the first two bytes of the source), so that a neighbour's new MAC takes effect by one store. No
 * neighbour has a group address: that bit means unresolved.
 */
export const NextHop = struct(
  "next_hop",
  {
    addresses: u64,
    /** The last four bytes of the source MAC. */
    sourceRest: u32,
    /** Interface it is reached by. */
    ifindex: u32,
    /** VLAN tags it is sent with, each as it lies in the frame, and their bytes: 0, 4 or 8. */
    outerTag: u32,
    innerTag: u32,
    tagBytes: u32,
    _reserved: pad(4),
  },
  { size: 32 },
);

/** The group bit of the destination (IEEE 802): the lowest of its first byte. */
export const UNRESOLVED = 1;

/**
 * What bounds the errors a director answers with: the generic cell rate algorithm (ITU-T I.371), one
 * for each kind. Times are nanoseconds of the monotonic clock.
 */
export const Limits = struct(
  "limits",
  {
    /** The time it is, for tests; 0 asks the kernel. */
    clock: u64,
    /** An error for every so many, */
    interval: u64,
    /** and as many ahead of that as fit in this. */
    burst: u64,
    /** When the next error would be due, were they evenly spaced. Written by the program. */
    timeExceeded: u64,
    _reserved: pad(32),
  },
  { size: 64 },
);

export const Counter = struct("counter", { packets: u64, bytes: u64 });
