/** What constructs do in the kernel: one row each, what the program returns, and what it leaves in memory. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { probeTarget } from "../kernel/features.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { disassemble } from "./disassemble.ts";
import { dynptrOver, writeSizedRecord } from "./dynptr.ts";
import { Helper } from "./helpers.ts";
import type { MapSpec } from "./image.ts";
import { bpfSpinLock, bpfTimer, bytes, pad, struct, u16, u32, u64, u8 } from "./layout.ts";
import { locked } from "./lock.ts";
import { callEach, forEachNumber } from "./loops.ts";
import { array, globalData, hash, lruHash, ringBuffer } from "./maps.ts";
import { compile, type Program } from "./program.ts";
import { outputRecord, writeRecord } from "./ring-buffer.ts";
import { number32, number64, pointerTo, subprogram } from "./subprogram.ts";
import { type FeatureName, OLDEST_TARGET, type Target } from "./target.ts";
import { cancelTimer, setUpTimer, startTimer } from "./timer.ts";
import { all, type Scalar } from "./value.ts";
import type { View } from "./view.ts";
import { xdp, XdpContext, type XdpBuilder } from "./xdp.ts";

const Words = struct("words", { byte: u8, pad: pad(1), half: u16, word: u32, long: u64 });
const words = globalData("words", 64);
const Guarded = struct("guarded", { lock: bpfSpinLock, count: u32, bytes: bytes(8) });
const guarded = array("guarded", Guarded, 1);
const Timed = struct("timed", { timer: bpfTimer, fired: u64 });
const timed = array("timed", Timed, 1);
const Event = struct("event", { kind: u32, size: u32, at: u64 });
const ring = ringBuffer("ring", 4096);
const Key = struct("key", { address: u32, port: u16, protocol: u16 });
const flows = hash("flows", Key, Words, 4);
const recent = lruHash("recent", 8, Words, 4);

/** BPF_RB_AVAIL_DATA (include/uapi/linux/bpf.h). */
const AVAILABLE = 0;
const RECORD_HEADER = 8;
const PACKET = Uint8Array.from({ length: 64 }, (_, index) => 0xf0 + index);

interface World {
  readonly p: XdpBuilder;
  /** The single value of `words`, zero before each row. */
  readonly at: View<typeof Words.fields>;
  /** 0xf0f1f2f3 and on, from the packet: nothing the builder could know. */
  readonly packet: View<typeof Words.fields>;
}
interface Row {
  readonly name: string;
  readonly needs?: FeatureName;
  readonly write: (world: World) => Scalar;
  readonly wanted: number;
  /** `words` afterwards. */
  readonly leaves?: Partial<{ word: number; long: bigint }>;
}

const square = subprogram("square", [number64], (f, x) => f.return(x.mul(x)));
const squareGlobal = subprogram("square_global", [number32], (f, x) => f.return(x.mul(x)), {
  global: true,
});
const hypotenuse = subprogram("hypotenuse", [number64, number64], (f, a, b) =>
  f.return(f.call(square, a).add(f.call(square, b))),
);
const dataLength = subprogram(
  "data_length",
  [pointerTo(XdpContext)],
  (f, context) => {
    const { data, dataEnd } = f.pointer(context).as(XdpContext);
    f.return(dataEnd.read().u64().sub(data.read().u64()));
  },
  { global: true },
);
const addTo = subprogram("add_to", [number32, pointerTo(null)], (f, index, context) => {
  f.pointer(context).place(8).increase(index);
  f.if(index.eq(9), () => f.return(1));
  f.return(0);
});
const onTimer = subprogram(
  "on_timer",
  [pointerTo(null), pointerTo(null), pointerTo(null)],
  (f, _map, _key, value) => {
    f.pointer(value).as(Timed).fired.set(1);
    f.return(0);
  },
);

const rows: readonly Row[] = [
  {
    name: "atomic operations on 32 bits",
    write({ at }) {
      at.word.set(0b1100);
      at.word.atomicOr(0b0011);
      at.word.atomicAnd(0b1010);
      at.word.atomicXor(0b1111);
      at.word.atomicAdd(16);
      return 1;
    },
    wanted: 1,
    leaves: { word: 0b10101 },
  },
  {
    name: "atomic operations that fetch, on 64 bits",
    write({ at }) {
      at.long.set(5);
      const sum = at.long.fetchAdd(2).mul(1000);
      return sum
        .add(at.long.fetchOr(8).mul(100))
        .add(at.long.fetchAnd(0xc).mul(10))
        .add(at.long.fetchXor(1));
    },
    wanted: 5 * 1000 + 7 * 100 + 15 * 10 + 12,
    leaves: { long: 13n },
  },
  {
    name: "exchange",
    write({ at }) {
      at.word.set(7);
      return at.word.exchange(9);
    },
    wanted: 7,
    leaves: { word: 9 },
  },
  {
    name: "compareExchange that finds what it expects, among values that live on",
    write({ at, packet }) {
      const kept = [packet.byte.read(), packet.half.read(), packet.word.read()] as const;
      at.long.set(3);
      const was = at.long.compareExchange(3, 1n << 40n);
      return was.add(kept[0]).add(kept[1]).add(kept[2]).u32();
    },
    wanted: (3 + 0xf0 + 0xf3f2 + 0xf7f6f5f4) >>> 0,
    leaves: { long: 1n << 40n },
  },
  {
    name: "compareExchange that finds something else",
    write({ at }) {
      at.word.set(3);
      return at.word.compareExchange(4, 5);
    },
    wanted: 3,
    leaves: { word: 3 },
  },
  {
    name: "signExtend of 8 bits",
    write: ({ packet }) => packet.byte.read().signExtend(8).u32(),
    wanted: 0xffff_fff0,
  },
  {
    name: "signExtend of 32 bits to 64",
    write: ({ packet }) => packet.word.read().signExtend(32).shr(32).u32(),
    wanted: 0xffff_ffff,
  },
  {
    name: "readSigned of 16 bits",
    write: ({ packet }) => packet.half.readSigned().sar(4).u32(),
    wanted: 0xffff_ff3f,
  },
  {
    name: "readSigned of 32 bits",
    write: ({ packet }) => packet.word.readSigned().sar(36).u32(),
    wanted: 0xffff_ffff,
  },
  {
    name: "sdiv and smod round towards zero",
    needs: "cpuV4",
    write({ packet }) {
      const negative = packet.byte.read().signExtend(8);
      return negative.sdiv(3).mul(-1).mul(100).add(negative.smod(3).mul(-1)).u32();
    },
    wanted: 501,
  },
  { name: "reversed", write: ({ packet }) => packet.word.read().reversed(), wanted: 0xf4f5_f6f7 },
  {
    name: "storeRelease and loadAcquire",
    needs: "acquireRelease",
    write({ at }) {
      at.word.storeRelease(77);
      at.long.storeRelease(78);
      return at.word.loadAcquire().add(at.long.loadAcquire().u32());
    },
    wanted: 155,
  },
  { name: "a function", write: ({ p }) => p.call(square, 7), wanted: 49 },
  {
    name: "a global function of 32 bits",
    write: ({ p, packet }) => p.call(squareGlobal, packet.byte.read()),
    wanted: 0xf0 * 0xf0,
  },
  { name: "functions that call functions", write: ({ p }) => p.call(hypotenuse, 3, 4), wanted: 25 },
  {
    name: "a global function of the context, called twice",
    write: ({ p }) =>
      p.call(dataLength, p.contextRegister).add(p.call(dataLength, p.contextRegister)),
    wanted: 128,
  },
  {
    name: "repeat",
    write({ p }) {
      const sum = p.variable(0);
      p.repeat(10, (index) => sum.set(sum.add(index.u32())));
      return sum;
    },
    wanted: 45,
  },
  {
    name: "repeat with next and done",
    write({ p }) {
      const sum = p.variable(0);
      p.repeat(100, (index, { next, done }) => {
        p.leaveIf(index.and(1).eq(0), next);
        p.leaveIf(index.gt(9), done);
        sum.set(sum.add(index.u32()));
      });
      return sum;
    },
    wanted: 25,
  },
  {
    name: "while",
    write({ p }) {
      const left = p.variable(12, 8);
      const sum = p.variable(0, 8);
      p.while(
        () => left.gt(0),
        () => {
          left.set(left.sub(1));
          sum.set(sum.add(left));
        },
      );
      return sum;
    },
    wanted: 66,
  },
  {
    name: "loops in loops",
    write({ p }) {
      const sum = p.variable(0);
      p.repeat(4, (outer) => p.repeat(3, (inner) => sum.set(sum.add(outer.mul(inner).u32()))));
      return sum;
    },
    wanted: 18,
  },
  {
    name: "mayLeave bounds a loop nobody can prove",
    needs: "mayGoto",
    write({ p, at }) {
      const sum = p.variable(0, 8);
      p.loop(({ done }) => {
        p.mayLeave(done);
        sum.set(sum.add(at.long).add(1));
        p.leaveIf(sum.and(0xffff).eq(1000), done);
      });
      return sum.u32();
    },
    wanted: 1000,
  },
  {
    name: "forEachNumber, left early",
    needs: "openCodedIterators",
    write({ p, at }) {
      forEachNumber(p, 3, 1000, (index, { done }) => {
        at.long.increase(index);
        p.leaveIf(index.eq(10), done);
      });
      return 1;
    },
    wanted: 1,
    leaves: { long: 52n },
  },
  {
    name: "callEach",
    write({ p }) {
      const sum = p.stack(8);
      sum.place(8).set(0);
      const rounds = callEach(p, 1000, addTo, sum);
      return rounds.mul(100).add(sum.place(8));
    },
    wanted: 10 * 100 + 45,
  },
  {
    name: "locked",
    write({ p }) {
      const value = p.lookup(guarded, 0, 99).as(Guarded);
      locked(p, value.lock, () => value.count.set(value.count.add(1)));
      return value.count;
    },
    wanted: 1,
  },
  {
    name: "a timer: set up once, started, stopped",
    write({ p }) {
      const value = p.lookup(timed, 0, 99).as(Timed);
      const first = setUpTimer(p, timed, value.timer, onTimer);
      const again = setUpTimer(p, timed, value.timer, onTimer);
      p.require(all(first.eq(0), again.ne(0)), 98);
      p.require(startTimer(p, value.timer, 3_600_000_000_000n).eq(0), 97);
      return cancelTimer(p, value.timer);
    },
    wanted: 1,
  },
  {
    name: "writeRecord submits what it is not told to discard, outputRecord copies",
    write({ p, packet }) {
      for (const drop of [0xf0, 1]) {
        writeRecord(p, ring, Event, 99, (event, discard) => {
          event.kind.set(1);
          event.size.set(2);
          event.at.set(3);
          p.leaveIf(packet.byte.eq(drop), discard);
        });
      }
      const event = p.zeroed(Event);
      p.require(outputRecord(p, ring, event, Event.size).eq(0), 98);
      // What was discarded takes room until it is read.
      return p.call(Helper.ringbufQuery, p.map(ring), AVAILABLE);
    },
    wanted: 3 * (RECORD_HEADER + Event.size),
  },
  {
    name: "a dynptr over a map's value",
    write({ p }) {
      const memory = dynptrOver(p, p.mapValue(words), 64);
      const from = p.stack(8);
      from.place(8).set(0x1122_3344);
      p.require(memory.write(8, from, 8).eq(0), 99);
      p.require(memory.write(60, from, 8).ne(0), 98);
      const into = p.stack(8);
      p.require(memory.read(into, 8, 8).eq(0), 97);
      const slice = memory.slice(8, 8, 96);
      return into.place(4).read().add(slice.place(4));
    },
    wanted: 0x2244_6688,
    leaves: { long: 0x1122_3344n },
  },
  {
    name: "writeSizedRecord",
    write({ p, packet }) {
      const size = packet.byte.and(0x1f).add(8);
      writeSizedRecord(p, ring, size, (record, discard) => {
        const from = p.stack(8);
        from.place(8).set(7);
        p.require(record.write(0, from, 8).eq(0), discard);
      });
      return p.call(Helper.ringbufQuery, p.map(ring), AVAILABLE);
    },
    // Rounded up to eight bytes.
    wanted: RECORD_HEADER + 24,
  },
  {
    name: "keys and values with layouts",
    write({ p }) {
      const key = p.zeroed(Key);
      key.as(Key).port.set(80);
      const value = p.zeroed(Words);
      value.as(Words).long.set(6);
      p.require(p.call(Helper.mapUpdate, p.map(flows), key, value, 0).eq(0), 99);
      p.call(Helper.mapUpdate, p.map(recent), key, value, 0);
      const once = p.lookupAt(flows, key, 98).as(Words).long.read();
      return once.add(p.lookupAt(recent, key, 97).as(Words).long);
    },
    wanted: 12,
  },
];

const programOf = ({ write }: Row): Program =>
  xdp("construct", (p) => {
    const packet = p.packet();
    packet.require(PACKET.length, 0);
    const result = write({
      p,
      at: p.mapValue(words).as(Words),
      packet: packet.data.as(Words),
    });
    p.return(result);
  });

const maps = new Map<MapSpec, BpfMap>();
const mapFd = (spec: MapSpec): number => {
  const map = maps.get(spec) ?? createMap(spec);
  maps.set(spec, map);
  return map.fd;
};
after(() => {
  for (const map of maps.values()) map.close();
});

const targets: readonly (readonly [name: string, target: () => Target])[] = [
  ["the oldest target", () => OLDEST_TARGET],
  ["this kernel", probeTarget],
];
for (const row of rows) {
  for (const [name, targetOf] of targets) {
    test(`${row.name}, for ${name}`, { skip }, (t) => {
      const target = targetOf();
      if (row.needs !== undefined && !target[row.needs]) {
        assert.throws(() => compile(programOf(row), { target }), { name: "TargetError" });
        t.diagnostic(`refused: no ${row.needs}`);
        return;
      }
      for (const registersMax of [10, 6]) {
        const image = compile(programOf(row), { target, registersMax });
        for (const map of maps.values()) map.close();
        maps.clear();
        using program = loadProgram(image, mapFd);
        const { verdict } = new TestRun(program.fd, { maxPacket: PACKET.length }).run(PACKET);
        assert.equal(verdict, row.wanted, disassemble(image));
        if (row.leaves !== undefined) {
          const value = maps.get(words)?.lookup(new Uint8Array(4));
          assert.ok(value !== undefined);
          const left = Words.read(value);
          for (const [field, wanted] of Object.entries(row.leaves)) {
            assert.equal(left[field as "word" | "long"], wanted, field);
          }
        }
      }
    });
  }
}
