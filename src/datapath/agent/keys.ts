/**
 * Keys of the agent's maps on the stack, and who is admitted. An address has sixteen bytes, IPv4 as
 * IPv4-mapped IPv6 (`addressKey` in `maps.ts`); in front of it lies the prefix length that a trie is
 * asked with, behind it the code point.
 */
import type { Exit } from "../../bpf/function.ts";
import type { MapSpec } from "../../bpf/image.ts";
import type { Value } from "../../bpf/value.ts";
import type { BytesPlace, Pointer } from "../../bpf/view.ts";
import type { Agent } from "./context.ts";
import { ADDRESS_KEY_SIZE } from "./maps.ts";

const PREFIX_LENGTH_SIZE = 4;
const CODE_POINT_SIZE = 4;
/** The address begins on eight bytes. */
export const KEYS_SIZE = 8 + ADDRESS_KEY_SIZE + 8;

const addressAt = (key: Pointer): Pointer => key.plus(8);

export function storeIpv4Key({ key }: Agent, address: Value): void {
  const at = addressAt(key);
  at.place(8).set(0);
  at.plus(8).place(4).set(IPV4_MAPPED);
  at.plus(12).place(4).set(address.raw());
}

export function storeIpv6Key({ key }: Agent, address: BytesPlace): void {
  const at = addressAt(key);
  at.place(8).set(address.word(0, 8));
  at.plus(8).place(8).set(address.word(8, 8));
}

/** Bytes 8 to 11 of an IPv4-mapped address, 00 00 ff ff, as a little-endian word. */
const IPV4_MAPPED = 0xffff0000;

/** Goes on only for a VIP of ours from a director of ours. */
export function emitAdmit(agent: Agent, vip: () => void, source: () => void): void {
  const { p, leave } = agent;
  const foreign = p.exit(() => {
    source();
    emitRequireDirector(agent, leave.not_a_vip);
    p.goto(leave.foreign_vip);
  });
  vip();
  emitRequireVip(agent, foreign);
  source();
  emitRequireDirector(agent, leave.stranger);
}

/** Goes on when the key is a director's address. */
export function emitRequireDirector(agent: Agent, miss: Exit): void {
  const { maps, prefixes } = agent.variant;
  emitRequireIn(agent, maps.directors, prefixes.directors ? maps.directorPrefixes : null, miss);
}

function emitRequireVip(agent: Agent, miss: Exit): void {
  const { maps, prefixes } = agent.variant;
  emitRequireIn(agent, maps.vips, prefixes.vips ? maps.prefixes : null, miss);
}

/** Goes on when the key is one of the addresses, or has one of the prefixes. */
function emitRequireIn(
  { p, key }: Agent,
  addresses: MapSpec,
  prefixes: MapSpec | null,
  miss: Exit,
): void {
  if (prefixes === null) {
    p.lookupAt(addresses, addressAt(key), miss);
    return;
  }
  p.block((found) => {
    const search = p.exit(() => {
      const trie = addressAt(key).plus(-PREFIX_LENGTH_SIZE);
      trie.place(PREFIX_LENGTH_SIZE).set(ADDRESS_KEY_SIZE * 8);
      p.lookupAt(prefixes, trie, miss);
      p.goto(found);
    });
    p.lookupAt(addresses, addressAt(key), search);
  });
}

/** The VIP that a code point names at the address that is the key: sixteen bytes. */
export function emitNamedVip({ p, variant, key }: Agent, codePoint: Value, miss: Exit): Pointer {
  addressAt(key).plus(ADDRESS_KEY_SIZE).place(CODE_POINT_SIZE).set(codePoint);
  return p.lookupAt(variant.maps.codePoints, addressAt(key), miss);
}
