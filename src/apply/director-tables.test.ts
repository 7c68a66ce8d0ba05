/** The tables in plain memory, read back through the layouts. What packets make of them, the kernel tests show. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { counterOffset } from "../datapath/counters.ts";
import { trafficCounter } from "../datapath/director/maps.ts";
import fc from "fast-check";
import { DEFAULT_HASH_KEY, flowHashKey } from "../datapath/flow-hash.ts";
import { ArenaHeader, ForwardingCode, Member, ServiceSlot, wayOf } from "../datapath/layout.ts";
import { indexLayout } from "../model/arena-size.ts";
import { ip } from "../net/address.ts";
import { wholePrefix } from "../net/prefix.ts";
import { mac } from "../net/mac.ts";
import { internetChecksum, onesSum } from "../packet/checksum.ts";
import { Ipv4 } from "../packet/headers.ts";
import {
  arenaBytesFor,
  type DesiredPool,
  type DesiredState,
  indexShapeFor,
} from "../plan/desired-state.ts";
import type { Path } from "../plan/path.ts";
import { Arena } from "./arena.ts";
import { DirectorTables } from "./director-tables.ts";
import { IFINDEX, macOf, ownersOf, stateOf } from "./director-fixture.ts";

type Service = DesiredState["services"][number];

const HASH_KEY = flowHashKey(DEFAULT_HASH_KEY);

function setUp(state: DesiredState, size = arenaBytesFor(state)) {
  const bytes = new Uint8Array(size);
  const arena = new Arena(bytes, async () => {});
  const index = indexShapeFor(state);
  const tables = new DirectorTables(
    arena,
    { index, hashKey: HASH_KEY, outerSources: { ipv4: null, ipv6: null } },
    macOf,
  );
  return { bytes, arena, tables, layout: indexLayout(index) };
}

const indexOf = (bytes: Uint8Array): number => ArenaHeader.read(bytes).index;

/** Slots in use, of both families. */
function slotsOf({ bytes, layout }: Pick<ReturnType<typeof setUp>, "bytes" | "layout">) {
  return [layout.ipv4, layout.ipv6].flatMap(({ slots, slotsAt }) =>
    Array.from({ length: slots }, (_, slot) =>
      ServiceSlot.read(bytes, indexOf(bytes) + slotsAt + slot * ServiceSlot.size),
    ).filter(({ key0 }) => key0 !== 2n ** 64n - 1n),
  );
}

const offsetOf = (counter: number): number => counterOffset(trafficCounter(counter));

test("publish() writes a slot for every service address and one for every VIP", async () => {
  const state = stateOf();
  const world = setUp(state);
  const { tables } = world;
  assert.deepEqual(slotsOf(world), [], "nothing before");
  await tables.publish(state, ownersOf);
  const slots = slotsOf(world);
  assert.equal(slots.length, state.services.length + 2);
  const counters = new Set(
    slots.filter(({ buckets }) => buckets > 0).map(({ counter }) => counter),
  );
  assert.deepEqual(counters, new Set(state.services.map(({ counter }) => offsetOf(counter))));
  for (const { buckets, members } of slots) assert.deepEqual([buckets % 64, members % 64], [0, 0]);
});

test("publish() writes what a member needs, and the constant part of the outer checksum", async () => {
  const state = stateOf(["ipip4"]);
  const world = setUp(state);
  const { bytes, tables } = world;
  await tables.publish(state, ownersOf);
  const at = slotsOf(world).find(({ members }) => members > 0)?.members ?? 0;
  const member = Member.read(bytes, at);
  assert.equal(member.way, wayOf(ForwardingCode.ipipOverIpv4, IFINDEX));
  assert.equal(member.counter, offsetOf(state.pools[0]?.memberCounters ?? 0));
  assert.equal(member.mtu, 1500);
  const header = Ipv4.encode({ versionIhl: 0x45, flagsFragment: 0x4000, ttl: 64, protocol: 4 });
  header.set(member.source.subarray(0, 4), Ipv4.offsets.source);
  header.set(member.destination.subarray(0, 4), Ipv4.offsets.destination);
  // Sums do not care for the order of bytes (RFC 1071 §2): fold, and swap.
  const folded = member.outerSum % 0xffff || 0xffff;
  assert.equal(((folded & 0xff) << 8) | (folded >> 8), onesSum(header));
  Ipv4.write(header, { checksum: ~onesSum(header) & 0xffff });
  assert.equal(internetChecksum(header), 0);
});

test("publish() keeps the buckets of a table that stayed, and what setOwners() wrote there", async () => {
  const state = stateOf(["l2", "mixed"]);
  const world = setUp(state);
  const { bytes, tables } = world;
  await tables.publish(state, ownersOf);
  tables.setOwners("mixed", Uint32Array.of(3, 5), new Uint16Array(64).fill(2));
  const bucketsOf = (pool: number): number =>
    slotsOf(world).find(({ counter, buckets }) => counter === offsetOf(pool) && buckets > 0)
      ?.buckets ?? 0;
  const words = (at: number): Uint32Array => new Uint32Array(bytes.buffer, at, 64);
  const before = bucketsOf(1);
  const expected = Uint32Array.from(ownersOf(state.pools[1] as DesiredPool));
  expected[3] = 2;
  expected[5] = 2;
  assert.deepEqual(words(before), expected);
  const index = indexOf(bytes);
  await tables.publish(state, () => assert.fail("asked for owners of a table that stayed"));
  assert.notEqual(indexOf(bytes), index, "a new index");
  assert.equal(bucketsOf(1), before);
  assert.deepEqual(words(before), expected);
});

const other: readonly { readonly name: string; readonly change: Partial<Service> }[] = [
  { name: "VIP", change: { vip: wholePrefix(ip("192.0.2.77")) } },
  { name: "VIP's family", change: { vip: wholePrefix(ip("2001:db8::77")) } },
  { name: "port", change: { ports: { first: 8080, last: 8080 } } },
  { name: "protocol", change: { protocol: 1 } },
  { name: "pool and counter", change: { pool: 1, counter: 1 } },
  { name: "nothing, as records of its own", change: {} },
];
for (const { name, change } of other) {
  test(`publish() after a change of a service's ${name} is as if that were the first`, async () => {
    const before = stateOf(["l2", "ipip4"]);
    const services = before.services.map((service, index) => ({
      ...service,
      vip: { ...service.vip },
      ...(index === 3 ? change : {}),
    }));
    const world = setUp({ ...before, services: [...before.services, ...services] });
    const { tables } = world;
    await tables.publish(before, ownersOf);
    await tables.publish({ ...before, services }, ownersOf);
    const fresh = setUp({ ...before, services: [...before.services, ...services] });
    await fresh.tables.publish({ ...before, services }, ownersOf);
    // Where pools lie differs; that their services name the same ones does not.
    const shown = (of: typeof world) =>
      slotsOf(of).map((slot) => ({
        ...slot,
        buckets: slot.buckets > 0,
        members: slot.members > 0,
      }));
    assert.deepEqual(shown(world), shown(fresh));
    const pools = new Set(slotsOf(world).map(({ members }) => members));
    assert.equal(pools.size, 3, "two pools, and VIPs without one");
  });
}

test("setOwners() refuses a pool that is not there", async () => {
  const state = stateOf(["l2"]);
  const { tables } = setUp(state);
  await tables.publish(state, ownersOf);
  assert.throws(() => tables.setOwners("web", Uint32Array.of(0), Uint16Array.of(0)), /"web"/);
});

test("publish() that does not fit leaves the state before, and takes nothing", async () => {
  const state = stateOf(["l2"]);
  const { bytes, arena, tables } = setUp(stateOf(["l2", "ipip4"]), 1 << 16);
  await tables.publish(state, ownersOf);
  const [index, free] = [indexOf(bytes), arena.freeBytes];
  const large = 1 << 20;
  const grown: DesiredState = {
    ...stateOf(["l2", "ipip4"]),
    pools: stateOf(["l2", "ipip4"]).pools.map((pool) => ({
      ...pool,
      table: { ...pool.table, size: large, base: new Uint16Array(large) },
    })),
  };
  await assert.rejects(tables.publish(grown, ownersOf), RangeError);
  assert.equal(indexOf(bytes), index);
  const kept = arena.freeBytes;
  await tables.publish(state, ownersOf);
  assert.equal(arena.freeBytes, free);
  // A next hop's line may stay until the next publish says that nobody needs it.
  assert.ok(free - kept <= 64 * 2, `${free - kept} bytes lost`);
});

test("publish() of a state again and again takes no more than the first", async () => {
  const states = [stateOf(), stateOf(["l2"]), stateOf(["ipip6", "mixed"]), stateOf([]), stateOf()];
  const { arena, tables } = setUp(stateOf(), 1 << 20);
  await tables.publish(stateOf(), ownersOf);
  const free = arena.freeBytes;
  for (let round = 0; round < 5; round += 1) {
    for (const state of states) await tables.publish(state, ownersOf);
    assert.equal(arena.freeBytes, free);
  }
});

test("an arena of arenaBytesFor() takes new ways to the members for ever", async () => {
  const shapes = fc.array(
    fc.record({ size: fc.integer({ min: 10, max: 17 }), members: fc.nat(40) }),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  // Each change is the neighbour all members of a pool are behind, 0 for none and 1 for one each.
  const changes = fc.array(fc.array(fc.nat(4), { minLength: 6, maxLength: 6 }), { maxLength: 12 });
  const own = stateOf(["ipip4"]).pools[0]?.members[0];
  assert.ok(own !== undefined && own.path !== null);
  const way = own.path;
  await fc.assert(
    fc.asyncProperty(shapes, changes, async (shape, sequence) => {
      const pools = shape.map(
        ({ size, members }, index): DesiredPool => ({
          name: `pool-${index}`,
          table: tableOf(2 ** size),
          members: Array.from({ length: members }, (_, member) => ({ ...own, name: `${member}` })),
          memberCounters: index,
        }),
      );
      const services = pools.map(({ name }, pool) => ({
        name,
        vip: wholePrefix(ip("192.0.2.10")),
        protocol: 6,
        ports: { first: 80 + pool, last: 80 + pool },
        hashKey: "five-tuple" as const,
        pool,
        counter: pool,
      }));
      const { tables } = setUp({ pools, services, codePoints: new Map() });
      await tables.publish({ pools, services, codePoints: new Map() }, ownersOf);
      for (const change of sequence) {
        const changed = pools.map(
          (pool, index): DesiredPool => ({
            ...pool,
            members: pool.members.map((member, number) => ({
              ...member,
              path: wayBy(way, change[index] ?? 0, index, number),
            })),
          }),
        );
        await tables.publish({ pools: changed, services, codePoints: new Map() }, () =>
          assert.fail("tables stay"),
        );
      }
    }),
    { numRuns: 50 },
  );
});

const wayBy = (way: Path, change: number, pool: number, member: number): Path | null =>
  change === 0
    ? null
    : {
        ...way,
        neighbour: { family: 4, bytes: Uint8Array.of(10, change, pool, change === 1 ? member : 0) },
      };

function tableOf(size: number): DesiredPool["table"] {
  const base = new Uint16Array(size);
  return { size, members: [{ name: "l2", weight: 1 }], base, second: base };
}

test("resolve() and nextHops() say what is known of neighbours", async () => {
  const state = stateOf(["l2", "unresolved"]);
  const { tables } = setUp(state);
  await tables.publish(state, ownersOf);
  const unresolved = tables.nextHops().filter((nextHop) => nextHop.mac === null);
  assert.equal(unresolved.length, 1);
  assert.equal(tables.nextHops().length, 2);
  const [nextHop] = unresolved;
  assert.ok(nextHop !== undefined);
  assert.equal(tables.resolve(nextHop, mac("02:00:00:00:00:01")), true);
  assert.equal(tables.nextHops().filter((known) => known.mac === null).length, 0);
});
