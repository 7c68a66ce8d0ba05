/**
 * The memory a director's tables take. It is here, below all who need it: `config/` refuses a file
 * whose tables cannot fit, `plan/` sizes the arena, `datapath/` declares and lays it out.
 */

/**
 * Programs may add less than 2^29 to a pointer into a map's value (kernel/bpf/verifier.c,
 * BPF_MAX_VAR_OFF); half of that keeps every sum of two offsets below it.
 */
export const ARENA_SIZE_MAX = 1 << 28;
const ARENA_SIZE_MIN = 1 << 20;

/** Bytes of each record as it lies in the arena; a next hop begins on a line and has it alone. */
export const arenaRecordBytes = {
  header: 64,
  indexHead: 64,
  serviceSlot: 64,
  displacement: 4,
  bucket: 4,
  member: 64,
  nextHop: 64,
} as const;
/** Each region begins on a cache line. */
const LINE = 64;

export interface TableCounts {
  readonly pools: number;
  /** Of all tables together, and of the largest. */
  readonly buckets: number;
  readonly bucketsOfLargest: number;
  readonly members: number;
  /** Keys of the service index: one for each VIP, protocol and port, and one for each VIP alone. */
  readonly ipv4Keys: number;
  readonly ipv6Keys: number;
  /** Of what lies beside the index, to find services by prefixes and ranges. */
  readonly searchBytes: number;
}

/** The two tables of one address family in a service index: powers of two. */
export interface FamilyShape {
  readonly displacements: number;
  readonly slots: number;
}

/** How large a service index is: programs know it as a constant. */
export interface IndexShape {
  readonly ipv4: FamilyShape;
  readonly ipv6: FamilyShape;
}

/** Where the tables of an index lie; offsets and `size` are bytes from its start. */
export interface IndexLayout {
  readonly ipv4: FamilyLayout;
  readonly ipv6: FamilyLayout;
  readonly size: number;
}

export interface FamilyLayout extends FamilyShape {
  readonly displacementsAt: number;
  readonly slotsAt: number;
}

/** The shape of an index of so many keys of each family. */
export const indexShape = (ipv4Keys: number, ipv6Keys: number): IndexShape => ({
  ipv4: familyShape(ipv4Keys),
  ipv6: familyShape(ipv6Keys),
});

/** Two slots a key, so that nearly every displacement fits. */
const familyShape = (keys: number): FamilyShape => ({
  displacements: powerOfTwoFrom(Math.max(keys / 2, 1)),
  slots: powerOfTwoFrom(Math.max(keys * 2, 1)),
});

/** The head, then the slots, which need the alignment, then the displacements. */
export function indexLayout({ ipv4, ipv6 }: IndexShape): IndexLayout {
  const { indexHead, serviceSlot, displacement } = arenaRecordBytes;
  const slots6At = indexHead + ipv4.slots * serviceSlot;
  const displacements4At = slots6At + ipv6.slots * serviceSlot;
  const displacements6At = displacements4At + ipv4.displacements * displacement;
  return {
    ipv4: { ...ipv4, slotsAt: indexHead, displacementsAt: displacements4At },
    ipv6: { ...ipv6, slotsAt: slots6At, displacementsAt: displacements6At },
    size: displacements6At + ipv6.displacements * displacement,
  };
}

/**
 * Bytes that tables of these counts need to be changed for ever: all buckets once and those of one
 * table again, and the rest twice, since a new state is laid out beside the old one. A third time the
 * small records: what they leave free is not always in one piece.
 */
export function arenaBytesNeeded(counts: TableCounts): number {
  const { pools, buckets, bucketsOfLargest, members, ipv4Keys, ipv6Keys, searchBytes } = counts;
  const { header, bucket, member, nextHop, indexHead } = arenaRecordBytes;
  const records = members * (member + nextHop) + pools * LINE;
  const index = indexLayout(indexShape(ipv4Keys, ipv6Keys)).size + indexHead + LINE;
  return header + (buckets + bucketsOfLargest) * bucket + 3 * records + 2 * (index + searchBytes);
}

/** Size of an arena for tables of these counts, a power of two; larger than `ARENA_SIZE_MAX` if they cannot fit. */
export const arenaSize = (counts: TableCounts): number =>
  Math.max(ARENA_SIZE_MIN, powerOfTwoFrom(arenaBytesNeeded(counts)));

const powerOfTwoFrom = (atLeast: number): number => 2 ** Math.ceil(Math.log2(atLeast));
