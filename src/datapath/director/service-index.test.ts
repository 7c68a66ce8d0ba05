/**
 * The index laid out in bytes and walked again, in plain arithmetic, as the program walks it. That
 * the emitted look-up is this walk, `apply/fuzz.kernel.test.ts` shows on packets.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { indexBytes } from "../../model/arena-size.ts";
import type { IpAddress } from "../../net/address.ts";
import { ip } from "../../net/address.ts";
import { Random } from "../fuzz-fixture.ts";
import { IndexHead, ServiceSlot } from "../layout.ts";
import { planIndex, writeIndex } from "./index-plan.ts";
import { keyOf, type ServiceKey, type ServiceTarget, VIP_PROTOCOL } from "./service-index.ts";

interface ServiceEntry extends ServiceKey {
  readonly target: ServiceTarget;
}

/** The index of `entries` that will lie at `OFFSET`. */
function buildIndex(entries: readonly ServiceEntry[]): Uint8Array {
  const plan = planIndex(entries);
  const out = new Uint8Array(plan.size);
  writeIndex(plan, (key) => entries[key]?.target ?? null, OFFSET, out);
  return out;
}

const OFFSET = 0x4_0000;
const MASK = (1n << 64n) - 1n;

/** The target of `key` in an index that lies at `OFFSET`, or `null`. */
function find(index: Uint8Array, key: ServiceKey): ServiceTarget | null {
  const head = IndexHead.read(index);
  const own = keyOf(key);
  const [displacements, displacementMask, slots, slotMask] =
    key.vip.family === 4
      ? [head.ipv4Displacements, head.ipv4DisplacementMask, head.ipv4Slots, head.ipv4SlotMask]
      : [head.ipv6Displacements, head.ipv6DisplacementMask, head.ipv6Slots, head.ipv6SlotMask];
  let mixed = own.key0 * 0x9e3779b97f4a7c15n;
  if (key.vip.family === 6) {
    mixed += own.key1 * 0x94d049bb133111ebn + BigInt(own.key2) * 0xbf58476d1ce4e5b9n;
  }
  const bytes = (mixed & MASK).toString(16).padStart(16, "0").match(/../g) ?? [];
  const hash = (BigInt(`0x${bytes.toReversed().join("")}`) * head.seed) & MASK;
  const low = Number((hash >> 20n) & 0xffff_ffffn);
  const high = Number(hash >> 40n);
  const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
  const at = displacements - OFFSET + ((low & displacementMask) >>> 0) * 4;
  const slot = ((high ^ view.getUint32(at, true)) & slotMask) >>> 0;
  const { key0, key1, key2, ...target } = ServiceSlot.read(
    index,
    slots - OFFSET + slot * ServiceSlot.size,
  );
  const isFound = key0 === own.key0 && key1 === own.key1 && key2 === own.key2;
  return isFound ? target : null;
}

const target = (number: number): ServiceTarget => ({
  buckets: number,
  bucketMask: number + 1,
  members: number + 2,
  counter: number + 3,
  memberCounters: number + 4,
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
    const ofIpv4 = entries.filter(({ vip }) => vip.family === 4).length;
    assert.equal(index.length, indexBytes(ofIpv4, entries.length - ofIpv4));
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
  const plan = planIndex(entries);
  const first = new Uint8Array(plan.size);
  writeIndex(plan, (key) => entries[key]?.target ?? null, OFFSET, first);
  const changed = entries.map((entry, key) => ({ ...entry, target: target(key + 1000) }));
  // Regions of the arena are parts of one memory.
  const memory = new Uint8Array(plan.size + 128);
  const second = memory.subarray(64, 64 + plan.size);
  writeIndex(plan, (key) => changed[key]?.target ?? null, OFFSET, second);
  for (const entry of entries) assert.deepEqual(find(first, entry), entry.target);
  for (const entry of changed) assert.deepEqual(find(second, entry), entry.target);
  assert.ok(
    [...memory.subarray(0, 64), ...memory.subarray(64 + plan.size)].every((byte) => byte === 0),
  );
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
    const bytesPerEntry = planIndex(randomEntries(new Random(seed), count)).size / count;
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
