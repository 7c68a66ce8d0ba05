/**
 * A packet's service: by its whole key first (`service-index.ts`), which nearly all have. Where services
 * have prefixes, ranges or all ports, a second look-up by the upper bits of the address leads to
 * branches: the rest of the address, the protocol, the port, eight bits each (`layout.ts`). User space
 * has worked out beforehand which service is the most specific (`wide-plan.ts`).
 */
import type { Exit } from "../../bpf/function.ts";
import type { Scalar, Value, Variable } from "../../bpf/value.ts";
import type { Pointer } from "../../bpf/view.ts";
import { masked } from "../../net/prefix.ts";
import { IPPROTO_TCP, IPPROTO_UDP, Udp } from "../../packet/headers.ts";
import { emitFlowTerm } from "../flow-hash.ts";
import { BRANCH_END, BRANCH_SIZE, HashWords, PortBranches, ServiceSlot } from "../layout.ts";
import type { Director } from "./context.ts";
import { ANCHOR_PROTOCOL, emitLookup, VIP_PROTOCOL } from "./service-index.ts";
import type { WideShape } from "./variant.ts";

/** What a service is looked up by. */
export interface ServiceQuery {
  readonly family: 4 | 6;
  /** The destination as words in the packet's order: one of 32 bits, or two of 64. */
  readonly address: readonly Value[];
  readonly addressAt: Pointer;
  /** Where the ports are, if the protocol has any. */
  readonly ports: Pointer;
  readonly protocol: Value;
  /** Bytes of the IP packet up to the end of the shortest transport header. */
  readonly leastLength: Scalar;
  /** Emits what comes before a packet without an exact service is searched for: it may be no transport header yet. */
  readonly beforeSearch?: () => void;
}

export interface FoundService {
  readonly slot: Pointer;
  /** The flow hash but for source address and source port. */
  readonly hashSum: Value;
  /** As it lies in the packet, or 0 when it is not part of the hash key. */
  readonly sourcePort: Value;
  /** As in the query, but for protocols that need no transport header. */
  readonly leastLength: Scalar;
}

/** Emits the search; goes on where there is a service. */
export function emitFindService(director: Director, query: ServiceQuery, miss: Exit): FoundService {
  const { p } = director;
  const port = query.ports.plus(2).place(2).read();
  const exact = emitLookup(director, { ...query, port });
  const wide = shapeOf(director, query);
  if (wide === null) {
    p.require(exact.found, miss);
    const hashSum = exact.slot.as(ServiceSlot).hashSum.read();
    const sourcePort = emitSourcePort(director, exact.slot, query.ports.place(2).read());
    return { slot: exact.slot, hashSum, sourcePort, leastLength: query.leastLength };
  }
  // Where it points to from there is a constant, and the same on both ways.
  const { offset } = exact.slot;
  const slot = p.variable(0, 8);
  const hashSum = p.variable(0, 8);
  const leastLength = p.variable(query.leastLength);
  const sourcePort = p.variable(query.ports.place(2).read());
  p.block((joined) => {
    const search = p.exit(() => {
      query.beforeSearch?.();
      const found = { hashSum, leastLength, sourcePort };
      const searched = emitSearch(director, query, wide, miss, found);
      slot.set(searched.plus(-offset).address());
      p.goto(joined);
    });
    p.require(exact.found, search);
    slot.set(exact.slot.plus(-offset).address());
    hashSum.set(exact.slot.as(ServiceSlot).hashSum);
  });
  const found = p.pointer(slot).plus(offset);
  return {
    slot: found,
    hashSum,
    sourcePort: emitSourcePort(director, found, sourcePort),
    leastLength,
  };
}

/** Goes on for an address that some service has, whatever the protocol and the port. */
export function emitRequireVip(
  director: Director,
  query: Pick<ServiceQuery, "family" | "address" | "addressAt">,
  miss: Exit,
): void {
  const { p } = director;
  const protocol = p.constant(VIP_PROTOCOL);
  const alone = emitLookup(director, { ...query, port: p.constant(0), protocol });
  const wide = shapeOf(director, query);
  if (wide === null) {
    p.require(alone.found, miss);
    return;
  }
  p.block((joined) => {
    p.leaveIf(alone.found, joined);
    emitAddressBranch(director, query, wide, miss);
  });
}

const shapeOf = (
  { variant: { features } }: Director,
  { family }: Pick<ServiceQuery, "family">,
): WideShape | null => (family === 4 ? features.wideIpv4 : features.wideIpv6);

function emitSourcePort({ p, variant }: Director, slot: Pointer, port: Value): Value {
  if (!variant.features.hashKeys) return port;
  const words = slot.as(ServiceSlot).hashWords.read();
  const kept = p.variable(port);
  p.if(words.and(HashWords.sourcePort).eq(0), () => kept.set(0));
  return kept;
}

interface WideFound {
  readonly hashSum: Variable;
  readonly leastLength: Variable;
  readonly sourcePort: Variable;
}

/** Emits the search; returns where the slot is and sets the rest. */
function emitSearch(
  director: Director,
  query: ServiceQuery,
  wide: WideShape,
  miss: Exit,
  found: WideFound,
): Pointer {
  const { p, arena } = director;
  const { protocol, ports } = query;
  const end = emitAddressBranch(director, query, wide, miss);
  const byProtocol = arena.record(PortBranches, end);
  const branch = p.variable(0);
  const portWord = p.variable(ports.plus(2).place(2).read());
  p.if(
    protocol.eq(IPPROTO_TCP),
    () => branch.set(byProtocol.tcp),
    () => {
      p.if(
        protocol.eq(IPPROTO_UDP),
        () => branch.set(byProtocol.udp),
        () => {
          branch.set(byProtocol.other);
          found.leastLength.set(found.leastLength.sub(Udp.size));
          found.sourcePort.set(0);
          portWord.set(0);
        },
      );
    },
  );
  emitDescend(director, branch, [ports.plus(2), ports.plus(3)], miss);
  const slot = arena.pointer(ServiceSlot.size, branch);
  const { hashWords, hashSum } = slot.as(ServiceSlot);
  const words = hashWords.read();
  // What address, port and protocol add to the hash no slot knows of a prefix or a range.
  found.hashSum.set(hashSum);
  const { hashKey } = director.variant;
  const add = (bit: number, index: number, word: Value): void => {
    p.if(words.has(bit), () => {
      found.hashSum.set(found.hashSum.add(emitFlowTerm(p, hashKey, [index, word])));
    });
  };
  const count = query.family === 4 ? 1 : 4;
  for (let index = 0; index < count; index += 1) {
    const word = query.addressAt
      .plus(4 * index)
      .place(4)
      .read();
    add(HashWords.vip, count + 1 + index, word);
  }
  add(HashWords.servicePort, 2 * count + 1, portWord.shl(16));
  add(HashWords.protocol, 2 * count + 2, protocol);
  return slot;
}

/** The branch that the search by address ends in. */
function emitAddressBranch(
  director: Director,
  { family, address, addressAt }: Pick<ServiceQuery, "family" | "address" | "addressAt">,
  { anchorBits, levels }: WideShape,
  miss: Exit,
): Value {
  const { p } = director;
  const ones = { family, bytes: new Uint8Array(family === 4 ? 4 : 16).fill(0xff) };
  const mask = masked(ones, anchorBits).bytes;
  const view = new DataView(mask.buffer);
  const anchor = address.map((word, index) =>
    family === 4
      ? word.raw().and(view.getUint32(0, true) | 0)
      : word.and(p.constant(view.getBigUint64(index * 8, true), 8)),
  );
  const found = emitLookup(director, {
    family,
    address: anchor,
    port: p.constant(0),
    protocol: p.constant(ANCHOR_PROTOCOL),
  });
  p.require(found.found, miss);
  const branch = p.variable(found.slot.as(ServiceSlot).wide);
  const bytes = Array.from({ length: levels }, (_, level) =>
    addressAt.plus(anchorBits / 8 + level),
  );
  emitDescend(director, branch, bytes, miss);
  return branch;
}

/** Follows a branch by one byte after the other to where it ends. */
function emitDescend(
  { p, arena }: Director,
  branch: Variable,
  bytes: readonly Pointer[],
  miss: Exit,
): void {
  p.block((ended) => {
    for (const byte of bytes) {
      p.leaveIf(branch.has(BRANCH_END), ended);
      p.leaveIf(branch.eq(0), miss);
      const at = branch.add(byte.place(1).read().shl(Math.log2(BRANCH_SIZE)));
      branch.set(arena.pointer(BRANCH_SIZE, at).place(BRANCH_SIZE).read());
    }
  });
  p.require(branch.has(BRANCH_END), miss);
}
