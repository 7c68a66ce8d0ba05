/**
 * User space's half of the search for services that are not one address, one port and one protocol
 * (`find-service.ts` says how a program searches). Which service is the most specific is worked out
 * here, once: the longest prefix, then a named protocol before any, then the fewest ports.
 *
 * Branches that are alike are kept once: a thousand addresses with the same ports share theirs.
 */
import { masked, type IpPrefix, prefixContains } from "../../net/prefix.ts";
import type { IpAddress } from "../../net/address.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../packet/headers.ts";
import { BRANCH_END, BRANCH_SIZE, BRANCHES, ServiceSlot } from "../layout.ts";
import type { WideShape } from "./variant.ts";

export interface WideService {
  readonly vip: IpPrefix;
  /** IP protocol number; `null` is any. */
  readonly protocol: number | null;
  /** Both included. */
  readonly ports: { readonly first: number; readonly last: number };
  /** The number of the slot that it shares with all who lead to the same. */
  readonly slot: number;
}

export interface WidePlan {
  /** Bytes of all of it. */
  readonly size: number;
  /** Offset of each slot from the start. */
  readonly slotAt: (slot: number) => number;
  /** Each address that the index is to be asked with, and the branch there: an offset from the start, or an end. */
  readonly anchors: readonly { readonly address: IpAddress; readonly branch: number }[];
  /** Port branches and branches as they lie behind the slots, offsets from the start. */
  readonly words: Uint32Array;
  readonly wordsAt: number;
}

/**
 * How services of one family are searched by address; `null` when there are none. Levels are of
 * whole bytes, so that a program only loads them.
 */
export function wideShape(services: readonly WideService[], family: 4 | 6): WideShape | null {
  const lengths = services.flatMap(({ vip }) =>
    vip.address.family === family ? [vip.length] : [],
  );
  if (lengths.length === 0) return null;
  const anchorBits = Math.floor(Math.min(...lengths) / 8) * 8;
  return { anchorBits, levels: Math.ceil((Math.max(...lengths) - anchorBits) / 8) };
}

/** Lays out the search for `services`, whose slots are numbered from 0 on. */
export function planWide(services: readonly WideService[]): WidePlan {
  const slots = Math.max(0, ...services.map(({ slot }) => slot + 1));
  const memory = new Memory(slots * ServiceSlot.size);
  const anchors = ([4, 6] as const).flatMap((family) => {
    const shape = wideShape(services, family);
    return shape === null
      ? []
      : anchorsOf(
          services.filter(({ vip }) => vip.address.family === family),
          shape,
          memory,
        );
  });
  return {
    size: slots * ServiceSlot.size + memory.bytes,
    slotAt: (slot) => slot * ServiceSlot.size,
    anchors,
    words: memory.words(),
    wordsAt: slots * ServiceSlot.size,
  };
}

/** Writes branches into `out`, where the plan lies at `offset` of the arena. Slots are the caller's. */
export function writeWide({ words, wordsAt }: WidePlan, offset: number, out: Uint8Array): void {
  const memory = new Uint32Array(out.buffer, out.byteOffset + wordsAt, words.length);
  words.forEach((word, at) => {
    memory[at] = placed(word, offset);
  });
}

/** A branch of a plan, where that lies at `offset`. */
export const placed = (branch: number, offset: number): number =>
  branch === 0 ? 0 : branch + offset;

/** Where the search may end, or branch by the next byte. `end` is what it ends in, 0 nothing. */
type Branch = { readonly end: number } | { readonly next: Branch[] };

const NOTHING: Branch = { end: 0 };
const everywhere = (branch: Branch): Branch[] => Array.from({ length: BRANCHES }, () => branch);

function anchorsOf(
  services: readonly WideService[],
  { anchorBits, levels }: WideShape,
  memory: Memory,
): WidePlan["anchors"] {
  const prefixes = distinct(services.map(({ vip }) => vip)).toSorted((a, b) => a.length - b.length);
  const groups = new Map<string, { readonly address: IpAddress; branch: Branch }>();
  for (const prefix of prefixes) {
    const address = masked(prefix.address, anchorBits);
    const key = address.bytes.join();
    const group = groups.get(key) ?? { address, branch: NOTHING };
    groups.set(key, group);
    const end = portBranches(
      services.filter(
        ({ vip }) => vip.length <= prefix.length && prefixContains(vip, prefix.address),
      ),
      memory,
    );
    const bytes = prefix.address.bytes.subarray(anchorBits / 8, anchorBits / 8 + levels);
    group.branch = withPrefix(group.branch, bytes, prefix.length - anchorBits, { end });
  }
  return [...groups.values()].map(({ address, branch }) => ({
    address,
    branch: memory.place(branch),
  }));
}

function distinct(prefixes: readonly IpPrefix[]): readonly IpPrefix[] {
  const found = new Map<string, IpPrefix>();
  for (const prefix of prefixes)
    found.set(`${prefix.address.bytes.join()}/${prefix.length}`, prefix);
  return [...found.values()];
}

/** `branch`, where the addresses that begin with `bits` bits of `bytes` end in `end`. */
function withPrefix(branch: Branch, bytes: Uint8Array, bits: number, end: Branch): Branch {
  if (bits === 0) return end;
  const next = "next" in branch ? [...branch.next] : everywhere(branch);
  const first = bytes[0] ?? 0;
  if (bits >= 8) {
    next[first] = withPrefix(next[first] ?? NOTHING, bytes.subarray(1), bits - 8, end);
    return { next };
  }
  for (let byte = first; byte < first + 2 ** (8 - bits); byte += 1) next[byte] = end;
  return { next };
}

/** Where the search by address ends for those whose services these are: the end of a branch. */
function portBranches(services: readonly WideService[], memory: Memory): number {
  const ordered = services.toSorted(
    (a, b) =>
      a.vip.length - b.vip.length ||
      Number(a.protocol !== null) - Number(b.protocol !== null) ||
      span(b) - span(a),
  );
  const branchOf = (protocol: number | null): number => {
    let branch = NOTHING;
    for (const service of ordered) {
      if (service.protocol !== null && service.protocol !== protocol) continue;
      const { first, last } = service.ports;
      const end: Branch = { end: service.slot * ServiceSlot.size + BRANCH_END };
      branch = withRange(branch, first, last, end);
    }
    return memory.place(branch);
  };
  return memory.placePorts([branchOf(IPPROTO_TCP), branchOf(IPPROTO_UDP), branchOf(null)]);
}

const span = ({ ports }: WideService): number => ports.last - ports.first;
const PORTS = 2 ** 16;

/** `branch`, where ports from `first` to `last` end in `end`; by upper byte first, then by the lower. */
function withRange(branch: Branch, first: number, last: number, end: Branch): Branch {
  if (first === 0 && last === PORTS - 1) return end;
  const next = "next" in branch ? [...branch.next] : everywhere(branch);
  for (let high = first >> 8; high <= last >> 8; high += 1) {
    const [from, to] = [Math.max(first, high << 8), Math.min(last, (high << 8) | 0xff)];
    if (to - from === 0xff) {
      next[high] = end;
      continue;
    }
    const before = next[high] ?? NOTHING;
    const low = "next" in before ? [...before.next] : everywhere(before);
    low.fill(end, from & 0xff, (to & 0xff) + 1);
    next[high] = { next: low };
  }
  return { next };
}

/** Words behind the slots; what is alike lies there once. */
class Memory {
  readonly #start: number;
  readonly #known = new Map<string, number>();
  readonly #words: number[] = [];

  constructor(start: number) {
    this.#start = start;
  }

  get bytes(): number {
    return this.#words.length * BRANCH_SIZE;
  }

  words(): Uint32Array {
    return Uint32Array.from(this.#words);
  }

  /** A branch as a word: an end as it is, else where the next ones lie. */
  place(branch: Branch): number {
    if ("end" in branch) return branch.end;
    return this.#put(branch.next.map((each) => this.place(each)));
  }

  /** Where the port branches of three kinds of protocol lie, as an end. */
  placePorts(branches: readonly number[]): number {
    return this.#put([...branches, 0]) + BRANCH_END;
  }

  #put(words: readonly number[]): number {
    const key = words.join();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    // Port branches are read as a record: aligned to its size, which all branches are a multiple of.
    const at = this.#start + this.bytes;
    this.#words.push(...words);
    this.#known.set(key, at);
    return at;
  }
}
