/** What programs and user space share, as offset tables: a change here is a change of both. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, type Layout, u32 } from "../bpf/layout.ts";
import { Present } from "./agent/maps.ts";
import { ARENA_SIZE_MAX, arenaRecordBytes } from "../model/arena-size.ts";
import { declareArena } from "./arena.ts";
import {
  ArenaHeader,
  Bucket,
  Counter,
  ForwardingCode,
  IndexHead,
  Limits,
  Member,
  NextHop,
  NO_OWNER,
  PortBranches,
  ServiceSlot,
  wayOf,
} from "./layout.ts";
import { agentReasons, directorReasonIndex, directorReasons } from "./reasons.ts";

const tables: readonly { layout: Layout; text: string }[] = [
  {
    layout: ArenaHeader,
    text: `
      struct arena_header 64
         0   4 index
         4  60 _reserved`,
  },
  {
    layout: IndexHead,
    text: `
      struct index_head 64
         0   8 seed
         8  56 _reserved`,
  },
  {
    layout: ServiceSlot,
    text: `
      struct service_slot 64
         0   8 key0
         8   8 key1
        16   4 key2
        20   4 buckets
        24   4 bucketMask
        28   4 members
        32   4 counter
        36   4 hashWords
        40   8 hashSum
        48   4 wide
        52   4 codePoints
        56   8 _reserved`,
  },
  {
    layout: Bucket,
    text: `
      struct bucket 4
         0   2 owner
         2   2 chain`,
  },
  {
    layout: Member,
    text: `
      struct member 64
         0   4 way
         4   4 nextHop
         8   4 counter
        12   2 mtu
        14   2 _aligned
        16   4 outerSum
        20   4 _more
        24  16 source
        40  16 destination
        56   8 _reserved`,
  },
  {
    layout: NextHop,
    text: `
      struct next_hop 32
         0   8 addresses
         8   4 sourceRest
        12   4 ifindex
        16   4 outerTag
        20   4 innerTag
        24   4 tagBytes
        28   4 _reserved`,
  },
  {
    layout: PortBranches,
    text: `
      struct port_branches 16
         0   4 tcp
         4   4 udp
         8   4 other
        12   4 _reserved`,
  },
  {
    layout: Limits,
    text: `
      struct limits 64
         0   8 clock
         8   8 interval
        16   8 burst
        24   8 timeExceeded
        32  32 _reserved`,
  },
  {
    layout: Counter,
    text: `
      struct counter 16
         0   8 packets
         8   8 bytes`,
  },
  {
    layout: Present,
    text: `
      struct present 4
         0   4 present`,
  },
];

for (const { layout, text } of tables) {
  test(`the layout of ${layout.name}`, () => {
    assert.equal(describe(layout), text.replaceAll(/^ {6}/gm, "").trim());
    // One AND bounds a record: its size is a power of two, and so divides an arena's.
    assert.equal(layout.size & (layout.size - 1), 0);
  });
}

test("the owner of nobody fits a bucket and is no member's index", () => {
  assert.deepEqual(Bucket.read(Bucket.encode({ owner: NO_OWNER })), { owner: NO_OWNER, chain: 0 });
});

for (const size of [0, 2048, 4095, 5000, ARENA_SIZE_MAX * 2, 1.5, -4096]) {
  test(`declareArena() refuses ${size} bytes`, () => {
    assert.throws(() => declareArena("carom_arena", size), RangeError);
  });
}

test("declareArena() takes powers of two up to what programs can address", () => {
  for (let size = 4096; size <= ARENA_SIZE_MAX; size *= 2) {
    assert.equal(declareArena("carom_arena", size).map.valueSize, size);
    const { map, size: bounded } = declareArena("carom_arena", size, 640);
    assert.deepEqual(
      [map.valueSize, bounded],
      [size + 640, size],
      "what lies behind is not bounded to",
    );
  }
});

test("wayOf() has the interface above the forwarding, and 0 for one whose number does not fit", () => {
  assert.equal(wayOf(ForwardingCode.l2, 7), 0x701);
  assert.equal(wayOf(ForwardingCode.ipipOverIpv6, 0xffffff), 0xffffff03);
  assert.equal(wayOf(ForwardingCode.l2, 0x1000000), 1);
});

for (const [whose, reasons] of [
  ["director", directorReasons],
  ["agent", agentReasons],
] as const) {
  test(`the ${whose}'s reasons have names of their own, and each says what it means`, () => {
    const names = reasons.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { name, meaning, fate } of reasons) {
      assert.match(name, /^[a-z]+(_[a-z]+)*$/);
      assert.match(meaning, /^[A-Z].{5,}[^.]$/);
      assert.ok(["forwarded", "passed", "dropped", "answered"].includes(fate));
    }
  });
}

test("the order of the director's reasons is that of its counters and only grows", () => {
  assert.deepEqual(
    directorReasons.map(({ name }) => name),
    [
      "forwarded",
      "not_ip",
      "not_for_us",
      "not_a_service",
      "too_short",
      "malformed",
      "fragment",
      "ip_options",
      "no_backend",
      "no_next_hop",
      "too_big",
      "no_headroom",
      "internal",
      "time_exceeded",
      "time_exceeded_silent",
      "rate_limited",
    ],
  );
  assert.equal(directorReasonIndex("malformed"), 5);
});

test("arenaRecordBytes says what the records take in the arena", () => {
  const { header, indexHead, serviceSlot, displacement, bucket, member, nextHop } =
    arenaRecordBytes;
  assert.deepEqual(
    { header, indexHead, serviceSlot, displacement, bucket, member },
    {
      header: ArenaHeader.size,
      indexHead: IndexHead.size,
      serviceSlot: ServiceSlot.size,
      displacement: u32.size,
      bucket: Bucket.size,
      member: Member.size,
    },
  );
  assert.ok(nextHop >= NextHop.size);
});
