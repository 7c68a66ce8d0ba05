/**
 * Next hop records in the arena, one for each neighbour behind each interface, shared by all members
 * that go that way. A neighbour's MAC changes by one store; until it is known the record says
 * unresolved and packets are dropped and counted.
 */
import { NextHop, UNRESOLVED } from "../datapath/layout.ts";
import { formatIp, type IpAddress } from "../net/address.ts";
import { formatMac, type Mac } from "../net/mac.ts";
import { Vlan } from "../packet/headers.ts";
import { neighbourDevice, type Path, type PathTag } from "../plan/path.ts";
import type { Arena } from "./arena.ts";

/** What a record is for. */
export interface NextHopId {
  /** The device that knows the neighbour. */
  readonly ifindex: number;
  readonly neighbour: IpAddress;
}

interface Entry extends NextHopId {
  readonly offset: number;
  readonly sourceMac: Mac;
  mac: Mac | null;
}

export interface NextHopStatus extends NextHopId {
  /** `null` while unresolved. */
  readonly mac: Mac | null;
}

export class NextHopRecords {
  readonly #arena: Arena;
  readonly #macOf: (nextHop: NextHopId) => Mac | null;
  readonly #entries = new Map<string, Entry>();
  /** Where members without a path point: a record that is never resolved. */
  readonly #nowhere: number;

  constructor(arena: Arena, macOf: (nextHop: NextHopId) => Mac | null) {
    this.#arena = arena;
    this.#macOf = macOf;
    this.#nowhere = arena.allocate(NextHop.size);
    arena.store64(this.#nowhere + NextHop.offsets.addresses, BigInt(UNRESOLVED));
  }

  /** The record for a path, made when there is none yet. Returns its offset. */
  offsetFor(path: Path | null): number {
    if (path === null) return this.#nowhere;
    const key = keyFor(path);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const { neighbour, mac: sourceMac, tags = [] } = path;
      const ifindex = neighbourDevice(path);
      const offset = this.#arena.allocate(NextHop.size);
      entry = { offset, ifindex, neighbour, sourceMac, mac: this.#macOf({ ifindex, neighbour }) };
      const [outer, inner] = tags;
      NextHop.write(this.#arena.region(offset, NextHop.size), {
        addresses: addressWord(entry),
        sourceRest: readWord(sourceMac, 2),
        ifindex: path.ifindex,
        outerTag: tagWord(outer),
        innerTag: tagWord(inner),
        tagBytes: tags.length * Vlan.size,
      });
      this.#entries.set(key, entry);
    }
    return entry.offset;
  }

  /** Sets or, with `null`, forgets a neighbour's MAC. Returns whether that changed anything. */
  resolve({ ifindex, neighbour }: NextHopId, mac: Mac | null): boolean {
    let changed = false;
    for (const entry of this.#entries.values()) {
      if (entry.ifindex !== ifindex || formatIp(entry.neighbour) !== formatIp(neighbour)) continue;
      if (sameMac(entry.mac, mac)) continue;
      entry.mac = mac;
      this.#arena.store64(entry.offset + NextHop.offsets.addresses, addressWord(entry));
      changed = true;
    }
    return changed;
  }

  /** Forgets records that no path uses any more; returns their offsets, to be given back. */
  retain(paths: readonly (Path | null)[]): readonly number[] {
    const wanted = new Set(paths.flatMap((path) => (path === null ? [] : [keyFor(path)])));
    const unused = [...this.#entries].filter(([key]) => !wanted.has(key));
    for (const [key] of unused) this.#entries.delete(key);
    return unused.map(([, { offset }]) => offset);
  }

  status(): readonly NextHopStatus[] {
    return [...this.#entries.values()].map(({ ifindex, neighbour, mac }) => ({
      ifindex,
      neighbour,
      mac,
    }));
  }
}

/** Destination MAC and the first two bytes of the source, as they lie in the frame. */
function addressWord({ mac, sourceMac }: Entry): bigint {
  if (mac === null || !isStation(mac)) return BigInt(UNRESOLVED);
  const start = Uint8Array.of(...mac, ...sourceMac.subarray(0, 2));
  return new DataView(start.buffer).getBigUint64(0, true);
}

const readWord = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);

// The source MAC belongs to the record: it lies in two words, which cannot change at once.
const keyFor = ({ ifindex, neighbourIfindex, neighbour, mac, tags = [] }: Path): string => {
  const link = tags.map(({ protocol, id }) => `${protocol}.${id}`).join();
  return `${ifindex} ${neighbourIfindex} ${link} ${formatIp(neighbour)} ${formatMac(mac)}`;
};

/** A tag as it lies in the frame: its protocol, then the id, no priority. */
function tagWord(tag: PathTag | undefined): number {
  if (tag === undefined) return 0;
  const { protocol, id } = tag;
  const bytes = Uint8Array.of(protocol >> 8, protocol & 0xff, id >> 8, id & 0xff);
  return readWord(bytes, 0);
}

/** Whether one station can have it: all zeros and groups are nobody's. */
const isStation = (mac: Mac): boolean =>
  ((mac[0] ?? 0) & UNRESOLVED) === 0 && mac.some((byte) => byte !== 0);

const sameMac = (a: Mac | null, b: Mac | null): boolean =>
  a === b || (a !== null && b !== null && formatMac(a) === formatMac(b));
