import assert from "node:assert/strict";
import { test } from "node:test";
import { NextHop } from "../datapath/layout.ts";
import { ip } from "../net/address.ts";
import { type Mac, mac } from "../net/mac.ts";
import type { Path } from "../plan/path.ts";
import { Arena } from "./arena.ts";
import { type NextHopId, NextHopRecords } from "./next-hop-records.ts";

const OWN = "00:00:5e:00:53:01";
const ROUTER = "00:00:5e:00:53:fe";

const path = (neighbour: string, rest: Partial<Path> = {}): Path => ({
  ifindex: 2,
  mac: mac(OWN),
  neighbour: ip(neighbour),
  source: ip("198.51.100.1"),
  mtu: 1500,
  ...rest,
});

function setUp(macOf: (nextHop: NextHopId) => Mac | null = () => null) {
  const arena = new Arena(new Uint8Array(1 << 16), async () => {});
  const records = new NextHopRecords(arena, macOf);
  /** The first twelve bytes of a frame, and the interface. */
  const recordAt = (offset: number): string => {
    const bytes = arena.region(offset, NextHop.size);
    return `${Buffer.from(bytes.subarray(0, 12)).toString("hex")} ${NextHop.read(bytes).ifindex}`;
  };
  return { arena, records, recordAt };
}

/** A group's: the program sends nothing to it. */
const UNRESOLVED_MAC = "010000000000";

test("a record starts as the frame does: destination, source", () => {
  const { records, recordAt } = setUp(() => mac(ROUTER));
  const offset = records.offsetFor(path("198.51.100.254"));
  assert.equal(recordAt(offset), "00005e0053fe00005e005301 2");
});

test("paths by the same neighbour, interface and source MAC share a record", () => {
  const { records } = setUp();
  const offset = records.offsetFor(path("198.51.100.254"));
  assert.equal(
    records.offsetFor(path("198.51.100.254", { mtu: 9000, source: ip("198.51.100.2") })),
    offset,
  );
  const others = [
    path("198.51.100.253"),
    path("198.51.100.254", { ifindex: 3 }),
    path("198.51.100.254", { mac: mac("00:00:5e:00:53:02") }),
    path("fe80::1"),
  ].map((other) => records.offsetFor(other));
  assert.equal(new Set([offset, ...others]).size, 5);
  assert.equal(records.status().length, 5);
});

test("an unresolved record has no destination, whatever the source", () => {
  const { records, recordAt } = setUp();
  const offset = records.offsetFor(path("198.51.100.254"));
  assert.equal(recordAt(offset), "01000000000000005e005301 2");
  assert.deepEqual(records.status(), [{ ifindex: 2, neighbour: ip("198.51.100.254"), mac: null }]);
});

test("resolve() sets, moves and forgets a MAC, and says whether that changed anything", () => {
  const { records, recordAt } = setUp();
  const offset = records.offsetFor(path("198.51.100.254"));
  const nextHop = { ifindex: 2, neighbour: ip("198.51.100.254") };
  assert.equal(records.resolve(nextHop, null), false);
  assert.equal(records.resolve(nextHop, mac(ROUTER)), true);
  assert.equal(recordAt(offset), "00005e0053fe00005e005301 2");
  assert.equal(records.resolve(nextHop, mac(ROUTER)), false);
  assert.equal(records.resolve(nextHop, mac("02:00:00:00:00:01")), true);
  assert.equal(recordAt(offset), "02000000000100005e005301 2");
  assert.equal(records.resolve(nextHop, null), true);
  assert.equal(recordAt(offset).slice(0, 12), UNRESOLVED_MAC);
});

for (const nobody of ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"]) {
  test(`a neighbour that says it is ${nobody} counts as unresolved`, () => {
    const { records, recordAt } = setUp(() => mac(nobody));
    const offset = records.offsetFor(path("198.51.100.254"));
    assert.equal(recordAt(offset), `${UNRESOLVED_MAC}00005e005301 2`);
  });
}

test("resolve() touches the neighbour behind that interface only, for all its source MACs", () => {
  const { records, recordAt } = setUp();
  const same = records.offsetFor(path("198.51.100.254"));
  const sourceMoved = records.offsetFor(path("198.51.100.254", { mac: mac("00:00:5e:00:53:02") }));
  const elsewhere = records.offsetFor(path("198.51.100.254", { ifindex: 3 }));
  assert.equal(records.resolve({ ifindex: 2, neighbour: ip("198.51.100.254") }, mac(ROUTER)), true);
  assert.equal(recordAt(same), "00005e0053fe00005e005301 2");
  assert.equal(recordAt(sourceMoved), "00005e0053fe00005e005302 2");
  assert.equal(recordAt(elsewhere).slice(0, 12), UNRESOLVED_MAC);
  assert.equal(
    records.resolve({ ifindex: 9, neighbour: ip("198.51.100.254") }, mac(ROUTER)),
    false,
  );
});

test("members without a path share a record that is never resolved", () => {
  const { records, recordAt } = setUp(() => mac(ROUTER));
  const nowhere = records.offsetFor(null);
  assert.equal(records.offsetFor(null), nowhere);
  assert.equal(recordAt(nowhere), `${UNRESOLVED_MAC}000000000000 0`);
  assert.deepEqual(records.retain([]), []);
});

test("retain() forgets records that no path uses", () => {
  const { records } = setUp();
  const kept = records.offsetFor(path("198.51.100.254"));
  const unused = records.offsetFor(path("198.51.100.253"));
  assert.deepEqual(records.retain([path("198.51.100.254"), null]), [unused]);
  assert.equal(records.status().length, 1);
  assert.equal(records.offsetFor(path("198.51.100.254")), kept);
});
