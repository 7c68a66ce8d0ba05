import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArenaHeader } from "../datapath/layout.ts";
import { Arena } from "./arena.ts";

const SIZE = 1 << 14;
const LINE = 64;
const ALL = SIZE - ArenaHeader.size;

const arenaOf = (
  gracePeriod = async (): Promise<void> => {},
): { arena: Arena; bytes: Uint8Array } => {
  const bytes = new Uint8Array(SIZE);
  return { arena: new Arena(bytes, gracePeriod), bytes };
};

/** What a run of the property does: take so many bytes, or give back the n-th region in use. */
const steps = fc.array(
  fc.oneof(
    fc.record({
      take: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 6000 })),
    }),
    fc.record({ give: fc.nat(50) }),
  ),
  { maxLength: 120 },
);

test("Arena gives out aligned regions that never overlap, and gets all of them back", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const { arena, bytes } = arenaOf();
      const used = new Map<number, { size: number; mark: number }>();
      let mark = 0;
      for (const step of sequence) {
        if ("give" in step) {
          const offset = [...used.keys()][step.give % Math.max(used.size, 1)];
          if (offset === undefined) continue;
          used.delete(offset);
          await arena.release([offset]);
          continue;
        }
        const size = Math.max(LINE, Math.ceil(step.take / LINE) * LINE);
        let offset: number;
        try {
          offset = arena.allocate(step.take);
        } catch (error) {
          assert.ok(error instanceof RangeError);
          // Nothing fits only where no gap between regions is large enough.
          assert.ok(largestGap(used) < size, `${size} bytes would fit`);
          continue;
        }
        assert.equal(offset % LINE, 0);
        assert.ok(offset >= ArenaHeader.size && offset + size <= SIZE, `region at ${offset}`);
        for (const [other, region] of used) {
          assert.ok(offset + size <= other || other + region.size <= offset, "overlap");
        }
        assert.ok(
          bytes.subarray(offset, offset + size).every((byte) => byte === 0),
          "not zero",
        );
        mark = (mark % 255) + 1;
        arena.region(offset, size).fill(mark);
        used.set(offset, { size, mark });
        const taken = [...used.values()].reduce((sum, region) => sum + region.size, 0);
        assert.equal(arena.freeBytes, ALL - taken);
      }
      for (const [offset, region] of used) {
        const own = bytes.subarray(offset, offset + region.size);
        assert.ok(
          own.every((byte) => byte === region.mark),
          "somebody else wrote here",
        );
      }
      assert.ok(
        bytes.subarray(0, ArenaHeader.size).every((byte) => byte === 0),
        "the header is written",
      );
      await arena.release([...used.keys()]);
      assert.equal(arena.freeBytes, ALL);
      // In one piece again.
      assert.equal(arena.allocate(ALL), ArenaHeader.size);
    }),
    { numRuns: 200 },
  );
});

function largestGap(used: ReadonlyMap<number, { readonly size: number }>): number {
  let largest = 0;
  let end = ArenaHeader.size;
  for (const [offset, { size }] of [...used].toSorted(([a], [b]) => a - b)) {
    largest = Math.max(largest, offset - end);
    end = offset + size;
  }
  return Math.max(largest, SIZE - end);
}

test("Arena.release() frees nothing before the grace period is over", async () => {
  const over = Promise.withResolvers<void>();
  const { arena } = arenaOf(() => over.promise);
  const offset = arena.allocate(ALL);
  const released = arena.release([offset]);
  assert.throws(() => arena.allocate(1), /0 of 16384 are free/);
  over.resolve();
  await released;
  assert.equal(arena.allocate(ALL), offset);
});

test("Arena.release() of nothing waits for nothing", async () => {
  const { arena } = arenaOf(() => Promise.reject(new Error("asked for a grace period")));
  await arena.release([]);
});

test("Arena.release() refuses what is not in use", async () => {
  const { arena } = arenaOf();
  const offset = arena.allocate(100);
  await arena.release([offset]);
  await assert.rejects(arena.release([offset]), /it is not in use/);
  assert.equal(arena.freeBytes, ALL);
});

test("Arena stores words where they belong, in a map that does not start its buffer", () => {
  const buffer = new Uint8Array(SIZE + 64);
  const arena = new Arena(buffer.subarray(64), async () => {});
  arena.store32(64, 0x01020304);
  arena.store64(72, 0x1112131415161718n);
  assert.equal(
    Buffer.from(arena.region(64, 16)).toString("hex"),
    "04030201000000001817161514131211",
  );
  assert.equal(
    buffer.subarray(0, 128).every((byte) => byte === 0),
    true,
  );
});

test("Arena.release() whose grace period fails gives the regions back with the next", async () => {
  let isBroken = true;
  const { arena } = arenaOf(async () => {
    if (isBroken) throw new Error("the kernel process is gone");
  });
  const [one, two] = [arena.allocate(100), arena.allocate(100)];
  await assert.rejects(arena.release([one]), /is gone/);
  assert.ok(arena.freeBytes < ALL - LINE);
  isBroken = false;
  await arena.release([two]);
  assert.equal(arena.freeBytes, ALL);
});

test("Arena.release() never frees a region that is obsolete again before its own grace period", async () => {
  const ends: (() => void)[] = [];
  const { arena } = arenaOf(() => new Promise<void>((resolve) => ends.push(resolve)));
  const offset = arena.allocate(100);
  const other = arena.allocate(100);
  const slow = arena.release([offset]);
  const fast = arena.release([other]);
  ends[1]?.();
  await fast;
  assert.equal(arena.allocate(100), offset);
  const again = arena.release([offset]);
  ends[0]?.();
  await slow;
  assert.notEqual(arena.allocate(100), offset);
  ends[2]?.();
  await again;
});
