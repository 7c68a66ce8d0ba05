/**
 * The index laid out in bytes and walked again, in plain arithmetic, as the program walks it. That
 * the emitted look-up is this walk, `apply/fuzz.kernel.test.ts` shows on packets.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type IndexShape, indexLayout, indexShape } from "../../model/arena-size.ts";
import type { IpAddress } from "../../net/address.ts";
import { ip } from "../../net/address.ts";
import { DEFAULT_HASH_KEY, flowHash, flowHashKey } from "../flow-hash.ts";
import { Random } from "../fuzz-fixture.ts";
import { IndexHead, ServiceSlot } from "../layout.ts";
import { type IndexPlan, planIndex, writeIndex } from "./index-plan.ts";
import { keyOf, type ServiceKey, type ServiceTarget, VIP_PROTOCOL } from "./service-index.ts";

interface ServiceEntry extends ServiceKey {
  readonly target: ServiceTarget;
}

interface Index {
  readonly shape: IndexShape;
  readonly bytes: Uint8Array;
}

const HASH_KEY = flowHashKey(DEFAULT_HASH_KEY);
const MASK = (1n << 64n) - 1n;

/** The shape an index of these keys has when nothing else is asked for. */
function shapeFor(keys: readonly ServiceKey[]): IndexShape {
  const ofIpv4 = keys.filter(({ vip }) => vip.family === 4).length;
  return indexShape(ofIpv4, keys.length - ofIpv4);
}

const plan = (keys: readonly ServiceKey[], shape = shapeFor(keys)): IndexPlan =>
  planIndex(keys, shape, HASH_KEY);

function buildIndex(entries: readonly ServiceEntry[], shape = shapeFor(entries)): Index {
  const planned = plan(entries, shape);
  const bytes = new Uint8Array(planned.size);
  writeIndex(planned, (key) => entries[key]?.target ?? null, bytes);
  return { shape, bytes };
}

interface Found extends ServiceTarget {
  readonly hashSum: bigint;
}

/** What the slot of `key` says, or `null`. */
function findSlot({ shape, bytes: index }: Index, key: ServiceKey): Found | null {
  const { seed } = IndexHead.read(index);
  const own = keyOf(key);
  const layout = indexLayout(shape)[key.vip.family === 4 ? "ipv4" : "ipv6"];
  let mixed = own.key0 * 0x9e3779b97f4a7c15n;
  if (key.vip.family === 6) {
    mixed &= MASK;
    mixed ^= mixed >> 32n;
    mixed += own.key1 * 0x94d049bb133111ebn + BigInt(own.key2) * 0xbf58476d1ce4e5b9n;
  }
  const bytes = (mixed & MASK).toString(16).padStart(16, "0").match(/../g) ?? [];
  const hash = (BigInt(`0x${bytes.toReversed().join("")}`) * seed) & MASK;
  const low = Number((hash >> 20n) & 0xffff_ffffn);
  const high = Number(hash >> 40n);
  const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
  const at = layout.displacementsAt + ((low & (layout.displacements - 1)) >>> 0) * 4;
  // Displacements are kept multiplied by the size of a slot.
  const slot = ((high ^ (view.getUint32(at, true) / ServiceSlot.size)) & (layout.slots - 1)) >>> 0;
  const { key0, key1, key2, ...found } = ServiceSlot.read(
    index,
    layout.slotsAt + slot * ServiceSlot.size,
  );
  return key0 === own.key0 && key1 === own.key1 && key2 === own.key2 ? found : null;
}

function find(index: Index, key: ServiceKey): ServiceTarget | null {
  const slot = findSlot(index, key);
  if (slot === null) return null;
  const { hashSum: _, ...found } = slot;
  return found;
}

const target = (number: number): ServiceTarget => ({
  buckets: number,
  bucketMask: number + 1,
  members: number + 2,
  counter: number + 3,
  hashWords: number & 15,
  wide: number + 5,
  codePoints: number + 6,
});

/** `count` entries with keys of their own, of both families, some of them a VIP alone. */
function randomEntries(random: Random, count: number): readonly ServiceEntry[] {
  const entries = new Map<string, ServiceEntry>();
  while (entries.size < count) {
    const vip: IpAddress = random.chance(0.5)
      ? { family: 4, bytes: Uint8Array.of(192, 0, random.below(4), random.below(256)) }
      : {
          family: 6,
          bytes: Uint8Array.of(
            0x20,
            1,
            0xd,
            0xb8,
            ...random.bytes(2),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            random.below(64),
          ),
        };
    const [port, protocol] = random.chance(0.1)
      ? [0, VIP_PROTOCOL]
      : [random.below(65_536), random.pick([6, 17])];
    entries.set(`${vip.bytes.join()} ${port} ${protocol}`, {
      vip,
      port,
      protocol,
      target: target(entries.size),
    });
  }
  return [...entries.values()];
}

const seed = Math.floor(Math.random() * 2 ** 32);
for (const count of [0, 1, 2, 10, 1000, 20_000]) {
  test(`buildIndex() finds ${count} entries and nothing else, seed ${seed}`, () => {
    const random = new Random(seed + count);
    const entries = randomEntries(random, count);
    const index = buildIndex(entries);
    assert.equal(index.bytes.length, indexLayout(index.shape).size);
    for (const entry of entries) assert.deepEqual(find(index, entry), entry.target);

    const keys = new Set(
      entries.map((entry) => JSON.stringify([...entry.vip.bytes, entry.port, entry.protocol])),
    );
    let misses = 0;
    for (const other of randomEntries(random, 2000)) {
      const key = JSON.stringify([...other.vip.bytes, other.port, other.protocol]);
      if (keys.has(key)) continue;
      misses += 1;
      assert.equal(find(index, other), null, key);
    }
    assert.ok(misses > 1000, `${misses} keys that are not there`);
  });
}

test("buildIndex() finds entries that differ in one part of the key only", () => {
  const keys: readonly ServiceKey[] = [
    ["192.0.2.1", 80, 6],
    ["192.0.2.1", 80, 17],
    ["192.0.2.1", 81, 6],
    ["192.0.2.2", 80, 6],
    ["192.0.2.1", 80 << 8, 6],
    ["192.0.2.1", 0, VIP_PROTOCOL],
    ["2001:db8::1", 80, 6],
    ["2001:db8::1", 80, 17],
    ["2001:db8::1", 443, 6],
    ["2001:db8::2", 80, 6],
    ["2001:db8:1::1", 80, 6],
    ["2001:db8::1", 0, VIP_PROTOCOL],
    ["::", 0, VIP_PROTOCOL],
    ["0.0.0.0", 0, VIP_PROTOCOL],
  ].map(([vip, port, protocol]) => ({
    vip: ip(String(vip)),
    port: Number(port),
    protocol: Number(protocol),
  }));
  for (const leftOut of keys) {
    const rest = keys.filter((key) => key !== leftOut);
    const index = buildIndex(rest.map((key, number) => ({ ...key, target: target(number) })));
    assert.equal(find(index, leftOut), null);
    rest.forEach((key, number) => assert.deepEqual(find(index, key), target(number)));
  }
});

test("an index without entries matches no packet, be it all zeros or all ones", () => {
  const index = buildIndex([]);
  for (const vip of [
    "0.0.0.0",
    "255.255.255.255",
    "::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  ]) {
    for (const port of [0, 65_535]) {
      for (const protocol of [0, 255])
        assert.equal(find(index, { vip: ip(vip), port, protocol }), null);
    }
  }
});

test("no packet of eight bits of protocol has the key of a VIP alone", () => {
  for (const vip of [ip("192.0.2.1"), ip("2001:db8::1")]) {
    const alone = keyOf({ vip, port: 0, protocol: VIP_PROTOCOL });
    for (let protocol = 0; protocol < 256; protocol += 1) {
      assert.notDeepEqual(keyOf({ vip, port: 0, protocol }), alone);
    }
  }
});

test("buildIndex() refuses two entries with the same key", () => {
  const entry = { vip: ip("192.0.2.1"), port: 80, protocol: 6, target: target(0) };
  assert.throws(() => buildIndex([entry, { ...entry, target: target(1) }]), RangeError);
});

test("a plan is written again with what has changed, wherever the index lies", () => {
  const entries = randomEntries(new Random(seed), 300);
  const planned = plan(entries);
  const shape = shapeFor(entries);
  const first = new Uint8Array(planned.size);
  writeIndex(planned, (key) => entries[key]?.target ?? null, first);
  const changed = entries.map((entry, key) => ({ ...entry, target: target(key + 1000) }));
  // Regions of the arena are parts of one memory.
  const memory = new Uint8Array(planned.size + 128);
  const second = memory.subarray(64, 64 + planned.size);
  writeIndex(planned, (key) => changed[key]?.target ?? null, second);
  for (const entry of entries) assert.deepEqual(find({ shape, bytes: first }, entry), entry.target);
  for (const entry of changed)
    assert.deepEqual(find({ shape, bytes: second }, entry), entry.target);
  assert.ok(
    [...memory.subarray(0, 64), ...memory.subarray(64 + planned.size)].every((byte) => byte === 0),
  );
});

test("an index may have more room than its entries need, and never less", () => {
  const entries = randomEntries(new Random(seed), 30);
  for (const shape of [indexShape(30, 30), indexShape(20_000, 1000)]) {
    const index = buildIndex(entries, shape);
    for (const entry of entries) assert.deepEqual(find(index, entry), entry.target);
  }
  const ofIpv6 = entries.filter(({ vip }) => vip.family === 6);
  assert.throws(() => buildIndex(ofIpv6, indexShape(30, 0)), RangeError);
});

test("a slot holds what its VIP, port and protocol add to the flow hash", () => {
  const random = new Random(seed);
  for (const entry of randomEntries(random, 200)) {
    const { vip, port, protocol } = entry;
    if (protocol === VIP_PROTOCOL) continue;
    const view = new DataView(vip.bytes.buffer, vip.bytes.byteOffset, vip.bytes.byteLength);
    const words = Array.from({ length: vip.bytes.length / 4 }, (_, word) =>
      view.getUint32(word * 4, true),
    );
    const source = words.map(() => random.below(2 ** 32));
    const sourcePort = random.below(2 ** 16);
    const portRaw = ((port & 0xff) << 8) | (port >> 8);
    const ports = ((portRaw << 16) | sourcePort) >>> 0;
    const whole = flowHash(HASH_KEY, [...source, ...words, ports, protocol]);
    // The rest of the sum, as the program adds it, through a key whose k0 is the slot's.
    const { hashSum = 0n } = findSlot(buildIndex([entry]), entry) ?? {};
    const key = [hashSum, ...HASH_KEY.slice(1)];
    const rest = [...source, ...words.map(() => 0), sourcePort, 0];
    assert.equal(
      flowHash(key, rest),
      whole,
      JSON.stringify(entry, (_, v) => (typeof v === "bigint" ? String(v) : v)),
    );
  }
});

test("buildIndex() is a function of its entries, whatever their order", () => {
  const entries = randomEntries(new Random(seed), 300);
  const index = buildIndex(entries);
  assert.deepEqual(buildIndex(entries), index);
  const other = buildIndex(entries.toReversed());
  for (const entry of entries) assert.deepEqual(find(other, entry), entry.target);
});

test("indexes grow by their entries, not faster", () => {
  for (const count of [10, 100, 1000, 5000]) {
    // At most four slots and four displacements an entry, and the heads.
    const bytesPerEntry = plan(randomEntries(new Random(seed), count)).size / count;
    assert.ok(bytesPerEntry <= 4 * ServiceSlot.size + 16 + (IndexHead.size + 136) / count);
  }
});

/** Keys that count up in one byte of a VIP, each with ports or as a VIP alone. */
const countedIn = (family: 4 | 6, byte: number, ports: readonly number[]): readonly ServiceKey[] =>
  Array.from({ length: 256 }, (_, value) => value).flatMap((value) => {
    const bytes = Uint8Array.from(ip(family === 4 ? "192.0.2.1" : "2001:db8::1").bytes);
    bytes[byte] = value;
    return ports.map((port) => ({
      vip: { family, bytes },
      port,
      protocol: port === 0 ? VIP_PROTOCOL : 6,
    }));
  });

/** What people configure: rows of ports, rows of addresses, both. */
const rows: readonly { name: string; keys: readonly ServiceKey[] }[] = [
  {
    name: "20 000 ports of one VIP",
    keys: Array.from({ length: 20_000 }, (_, port) => ({
      vip: ip("192.0.2.1"),
      port,
      protocol: 6,
    })),
  },
  {
    name: "20 000 ports of one VIP of IPv6",
    keys: Array.from({ length: 20_000 }, (_, port) => ({
      vip: ip("2001:db8::1"),
      port,
      protocol: 17,
    })),
  },
  {
    name: "the ports 80 and 443 of 8192 addresses",
    keys: Array.from({ length: 16_384 }, (_, at) => ({
      vip: { family: 4, bytes: Uint8Array.of(198, 51, at >> 9, (at >> 1) & 255) },
      port: at % 2 === 0 ? 80 : 443,
      protocol: 6,
    })),
  },
  {
    name: "two protocols of 4096 addresses of IPv6",
    keys: Array.from({ length: 8192 }, (_, at) => ({
      vip: {
        family: 6,
        bytes: Uint8Array.of(
          0x20,
          1,
          0xd,
          0xb8,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          at >> 9,
          (at >> 1) & 255,
        ),
      },
      port: 443,
      protocol: at % 2 === 0 ? 6 : 17,
    })),
  },
  ...Array.from({ length: 8 }, (_, first) => first).flatMap((first) =>
    Array.from({ length: 8 }, (_, second) => second + 8).map((second) => ({
      name: `IPv6 addresses that differ in the bytes ${first} and ${second}`,
      keys: Array.from({ length: 1024 }, (_, at) => {
        const bytes = Uint8Array.from(ip("2001:db8::1").bytes);
        bytes[first] = (at >> 5) * 7;
        bytes[second] = (at & 31) * 7;
        return { vip: { family: 6 as const, bytes }, port: 443, protocol: 6 };
      }),
    })),
  ),
  ...([4, 6] as const).flatMap((family) =>
    Array.from({ length: family === 4 ? 4 : 16 }, (_, byte) => byte).flatMap((byte) =>
      [[443], [80, 443, 0], [0]].map((ports) => ({
        name: `IPv${family} addresses that differ in byte ${byte}, ports ${ports.join(", ")}`,
        keys: countedIn(family, byte, ports),
      })),
    ),
  ),
];
for (const { name, keys } of rows) {
  test(`buildIndex() finds ${name}`, () => {
    const index = buildIndex(keys.map((key, at) => ({ ...key, target: target(at) })));
    keys.forEach((key, at) => assert.deepEqual(find(index, key), target(at)));
  });
}
