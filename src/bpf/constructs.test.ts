/**
 * What an author writes, and the instructions it becomes: one row per construct, the expected text
 * in `testdata/constructs.txt`. After a change that is meant, write it anew with
 * `BPF_WRITE_CONSTRUCTS=1 node src/bpf/constructs.test.ts` and read the difference.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { allocatePages, arenaPointer, freePages, fromUserAddress, toUserAddress } from "./arena.ts";
import { disassemble } from "./disassemble.ts";
import { dynptrOver } from "./dynptr.ts";
import { Helper } from "./helpers.ts";
import { Kfunc } from "./kfuncs.ts";
import { be16, be32, bpfSpinLock, bpfTimer, bytes, struct, u16, u32, u64, u8 } from "./layout.ts";
import { locked } from "./lock.ts";
import { callEach, forEachNumber } from "./loops.ts";
import { arenaMap, array, globalData, hash, perCpuArray, progArray, ringBuffer } from "./maps.ts";
import { loadPacket, SKF_NET_OFF } from "./packet-load.ts";
import { compile } from "./program.ts";
import { writeRecord } from "./ring-buffer.ts";
import { schedCls, type SkbBuilder } from "./skb.ts";
import { number32, number64, pointerTo, subprogram } from "./subprogram.ts";
import { NEWEST_TARGET } from "./target.ts";
import { setUpTimer, startTimer } from "./timer.ts";
import { all, any, not, type Scalar, type Value } from "./value.ts";
import { Pointer, type View } from "./view.ts";
import { xdp, XDP_DROP, XDP_PASS, XDP_TX, type XdpBuilder } from "./xdp.ts";

const Fields = struct(
  "fields",
  {
    byte: u8,
    half: u16,
    word: u32,
    long: u64,
    port: be16,
    address: be32,
    mac: bytes(6),
    mac2: bytes(6),
    ip: bytes(16),
  },
  { packed: true },
);
const arena = globalData("arena", 1 << 20);
const counters = perCpuArray("counters", Fields, 8);
const flows = hash("flows", 16, Fields, 8);
const programs = progArray("programs", 2);

const pages = arenaMap("pages", 16);
const ring = ringBuffer("ring", 4096);
const Guarded = struct("guarded", { timer: bpfTimer, lock: bpfSpinLock, count: u32 });
const guarded = array("guarded", Guarded, 1);
const square = subprogram("square", [number64], (f, x) => f.return(x.mul(x)), { global: true });
const each = subprogram("each", [number32, pointerTo(null)], (f, index, context) => {
  f.pointer(context).place(8).increase(index);
  f.return(0);
});

interface World {
  readonly p: XdpBuilder;
  readonly at: View<typeof Fields.fields>;
  readonly memory: Pointer;
  /** Two values of 32 bits, and two of 64. */
  readonly a: Value;
  readonly b: Value;
  readonly x: Value;
  readonly y: Value;
}
interface Row {
  readonly name: string;
  /** For Linux 6.15 and later instead of 6.1. */
  readonly newest?: true;
  /** What it gives is returned; XDP_TX when it gives nothing. */
  readonly write: (world: World) => Scalar | void;
}

const operators = [
  "add",
  "sub",
  "mul",
  "div",
  "mod",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
  "sar",
] as const;
const comparisons = [
  "eq",
  "ne",
  "gt",
  "ge",
  "lt",
  "le",
  "sgt",
  "sge",
  "slt",
  "sle",
  "has",
] as const;

const rows: readonly Row[] = [
  ...operators.flatMap((operator): Row[] => [
    { name: `a.${operator}(7)`, write: ({ a }) => a[operator](7) },
    { name: `a.${operator}(b)`, write: ({ a, b }) => a[operator](b) },
    { name: `x.${operator}(7)`, write: ({ x }) => x[operator](7) },
    { name: `x.${operator}(y)`, write: ({ x, y }) => x[operator](y) },
  ]),
  { name: "x.add(a): 32 bits widen", write: ({ x, a }) => x.add(a) },
  { name: "a.shl(x): a count widens nothing", write: ({ a, x }) => a.shl(x) },
  { name: "x.and(2 ** 40): too wide for an immediate", write: ({ x }) => x.and(1n << 40n) },
  { name: "x.and(0xffffffff): would be sign-extended", write: ({ x }) => x.and(0xffff_ffff) },
  { name: "a.and(0xffffffff)", write: ({ a }) => a.and(0xffff_ffff) },
  { name: "a.add(0).mul(1).shl(0): nothing to do", write: ({ a }) => a.add(0).mul(1).shl(0) },
  { name: "a.neg()", write: ({ a }) => a.neg() },
  { name: "x.neg()", write: ({ x }) => x.neg() },
  { name: "x.u32()", write: ({ x }) => x.u32() },
  { name: "a.u64()", write: ({ a }) => a.u64() },
  { name: "a.toNetwork()", write: ({ a }) => a.toNetwork().raw() },
  { name: "a.toNetwork(2)", write: ({ a }) => a.toNetwork(2).raw() },
  { name: "a.toNetwork(1)", write: ({ a }) => a.toNetwork(1).raw() },
  { name: "x.toNetwork()", write: ({ x }) => x.toNetwork().raw() },
  { name: "a.asNetwork(2)", write: ({ a }) => a.asNetwork(2).raw() },
  { name: "port.toHost()", write: ({ at }) => at.port.read().toHost() },
  { name: "address.toHost().add(1)", write: ({ at }) => at.address.read().toHost().add(1) },
  { name: "address.and(0xffffff00)", write: ({ at }) => at.address.and(0xffff_ff00).raw() },

  ...comparisons.flatMap((comparison): Row[] => [
    {
      name: `require a.${comparison}(7)`,
      write: ({ p, a }) => p.require(a[comparison](7), XDP_DROP),
    },
    {
      name: `require x.${comparison}(y)`,
      write: ({ p, x, y }) => p.require(x[comparison](y), XDP_DROP),
    },
    {
      name: `leaveIf a.${comparison}(b)`,
      write: ({ p, a, b }) => p.leaveIf(a[comparison](b), XDP_DROP),
    },
  ]),
  {
    name: "require port.eq(80): the constant is swapped",
    write: ({ p, at }) => p.require(at.port.eq(80), XDP_DROP),
  },
  {
    name: "require address.ne(0xc0000201)",
    write: ({ p, at }) => p.require(at.address.ne(0xc000_0201), XDP_DROP),
  },
  {
    name: "require port.has(0x3fff)",
    write: ({ p, at }) => p.require(at.port.has(0x3fff), XDP_DROP),
  },
  { name: "require x.lt(2 ** 40)", write: ({ p, x }) => p.require(x.lt(1n << 40n), XDP_DROP) },
  { name: "require a.eq(-1)", write: ({ p, a }) => p.require(a.eq(-1), XDP_DROP) },
  {
    name: "two guards share a verdict",
    write({ p, a, b }) {
      p.require(a.eq(1), XDP_DROP);
      p.require(b.eq(2), XDP_DROP);
    },
  },

  { name: "if", write: ({ p, at, a }) => p.if(a.eq(1), () => at.word.set(2)) },
  {
    name: "if, else",
    write: ({ p, at, a }) =>
      p.if(
        a.eq(1),
        () => at.word.set(2),
        () => at.word.set(3),
      ),
  },
  {
    name: "if, else, both return",
    write: ({ p, a }) =>
      p.if(
        a.eq(1),
        () => p.return(5),
        () => p.return(6),
      ),
  },
  {
    name: "an if that ends a side of another jumps straight to its end",
    write: ({ p, at, a, b }) =>
      p.if(
        a.eq(1),
        () => p.if(b.eq(2), () => at.word.set(2)),
        () => at.word.set(3),
      ),
  },
  { name: "if all", write: ({ p, at, a, b }) => p.if(all(a.eq(1), b.eq(2)), () => at.word.set(2)) },
  { name: "if any", write: ({ p, at, a, b }) => p.if(any(a.eq(1), b.eq(2)), () => at.word.set(2)) },
  {
    name: "if not any",
    write: ({ p, at, a, b }) => p.if(not(any(a.eq(1), b.eq(2))), () => at.word.set(2)),
  },
  {
    name: "if any of all",
    write: ({ p, at, a, b }) =>
      p.if(any(all(a.eq(1), b.eq(2)), all(a.eq(3), not(b.has(4)))), () => at.word.set(2)),
  },
  {
    name: "all, second part lazy: loaded only after the first held",
    write: ({ p, at, a }) =>
      p.require(
        all(a.eq(1), () => at.half.eq(2)),
        XDP_DROP,
      ),
  },
  {
    name: "any, second part lazy",
    write: ({ p, at, a }) =>
      p.require(
        any(a.eq(1), () => at.half.eq(2)),
        XDP_DROP,
      ),
  },
  { name: "require any of nothing: never", write: ({ p }) => p.require(any(), XDP_DROP) },
  { name: "require all of nothing: always", write: ({ p }) => p.require(all(), XDP_DROP) },
  { name: "leaveIf all of nothing: always", write: ({ p }) => p.leaveIf(all(), XDP_DROP) },

  {
    name: "an exit is written once, after the straight path",
    write({ p, at, a, b }) {
      const count = p.exit(() => {
        at.long.increase(1);
        p.return(XDP_PASS);
      });
      p.require(a.eq(1), count);
      p.leaveIf(b.eq(2), count);
    },
  },
  {
    name: "an exit may lead to another",
    write({ p, at, a }) {
      const count = p.exit(() => {
        at.long.set(1);
        p.return(XDP_PASS);
      });
      const mark = p.exit(() => {
        at.half.set(2);
        p.goto(count);
      });
      p.require(a.eq(1), count);
      p.require(a.eq(2), mark);
    },
  },
  {
    name: "an exit nobody takes is not written",
    write: ({ p }) => void p.exit(() => p.return(XDP_DROP)),
  },

  {
    name: "a variable set in branches",
    write({ p, a }) {
      const variable = p.variable(1);
      p.if(a.eq(1), () => variable.set(2));
      return variable;
    },
  },
  {
    name: "a variable's copy stays when it changes",
    write({ p, a, b }) {
      const variable = p.variable(a);
      const before = variable.add(0);
      variable.set(b);
      return before.sub(variable);
    },
  },
  {
    name: "a variable of two bytes is cut",
    write({ p, a }) {
      const variable = p.variable(a, 2);
      return variable.add(1);
    },
  },

  {
    name: "stack",
    write({ p, a }) {
      const slot = p.stack(12);
      slot.place(4).set(a);
      slot.plus(8).place(4).set(3);
      return slot.place(8).read();
    },
  },
  { name: "zeroed", write: ({ p }) => p.zeroed(Fields).place(4).read() },
  { name: "mapValue", write: ({ p }) => p.mapValue(arena).plus(4).place(4).read() },
  {
    name: "mapValue with an offset and an index",
    write: ({ p, a }) => p.mapValue(arena, 65536).plus(a.and(0xff).mul(8)).plus(4).place(4).read(),
  },
  { name: "lookup", write: ({ p, a }) => p.lookup(counters, a, XDP_DROP).as(Fields).word.read() },
  {
    name: "lookupAt",
    write({ p, at }) {
      const key = p.stack(16);
      key.place(8).set(at.long);
      key.plus(8).place(8).set(0);
      return p.lookupAt(flows, key, XDP_DROP).as(Fields).long.read();
    },
  },

  { name: "call with no argument", write: ({ p }) => p.call(Helper.jiffies64) },
  { name: "call with 2", write: ({ p, a }) => p.call(Helper.redirect, a, 0) },
  {
    name: "call with 3",
    write: ({ p, a }) => p.call(Helper.tailCall, p.contextRegister, p.map(counters), a),
  },
  {
    name: "call with 4",
    write: ({ p, memory }) => p.call(Helper.mapUpdate, p.map(flows), p.stack(16), memory, 0),
  },
  {
    name: "call with 5",
    write: ({ p, a, b, x }) =>
      p.call({ id: 9999, name: "five", argumentCount: 5 }, a, 1n << 40n, b, -1, x),
  },
  {
    name: "what lives across a call",
    write({ p, a, x }) {
      const now = p.call(Helper.ktimeGetNs);
      return p.call(Helper.redirect, x, now).add(a);
    },
  },
  { name: "tailCall", write: ({ p }) => p.tailCall(p.contextRegister, programs, 1, XDP_DROP) },
  {
    name: "arguments change places",
    write({ p, a, b }) {
      const five = { id: 9999, name: "five", argumentCount: 5 };
      const first = p.call(five, a, b, 0, 0, 0);
      return p.call(five, b, a, first, a, b);
    },
  },

  {
    name: "loads of each size",
    write: ({ at }) => at.byte.add(at.half).add(at.word).u64().add(at.long),
  },
  {
    name: "stores of each size, value",
    write({ at, x }) {
      at.byte.set(x);
      at.half.set(x);
      at.word.set(x);
      at.long.set(x);
    },
  },
  {
    name: "stores of each size, constant",
    write({ at }) {
      at.byte.set(0xff);
      at.half.set(-1);
      at.word.set(0xffff_ffff);
      at.long.set(-1);
      at.long.set(1n << 63n);
      at.port.set(80);
      at.address.set(0xc000_0201);
    },
  },
  { name: "increase", write: ({ at, a }) => at.long.increase(a) },
  {
    name: "atomicAdd",
    write({ at, a, x }) {
      at.word.atomicAdd(a);
      at.long.atomicAdd(x);
    },
  },
  { name: "copy bytes of a field", write: ({ at }) => at.mac.set(at.mac2) },
  { name: "copy 16 bytes", write: ({ at, memory }) => at.ip.set(memory.plus(100).as(Fields).ip) },
  { name: "set bytes", write: ({ at }) => at.mac.set(Uint8Array.of(0, 0, 0x5e, 0, 0x53, 1)) },
  {
    name: "copy bytes to the stack in aligned steps",
    write: ({ p, at }) => p.stack(Fields.size).as(Fields).mac.set(at.mac),
  },

  {
    name: "atomic operations",
    write({ at, a, x }) {
      at.word.atomicOr(a);
      at.word.atomicAnd(7);
      at.long.atomicXor(x);
      return at.long.fetchAdd(x).add(at.word.exchange(a)).add(at.word.fetchXor(1));
    },
  },
  { name: "compareExchange", write: ({ at, a, b }) => at.word.compareExchange(a, b).add(b) },
  { name: "loadAcquire", newest: true, write: ({ at }) => at.long.loadAcquire() },
  { name: "storeRelease", newest: true, write: ({ at }) => at.word.storeRelease(5) },
  { name: "signExtend, oldest", write: ({ a }) => a.signExtend(8, 4) },
  { name: "signExtend, newest", newest: true, write: ({ a }) => a.signExtend(8, 4) },
  { name: "signExtend to 64, newest", newest: true, write: ({ a }) => a.signExtend() },
  { name: "readSigned, oldest", write: ({ at }) => at.half.readSigned() },
  { name: "readSigned, newest", newest: true, write: ({ at }) => at.half.readSigned() },
  { name: "readSigned of 64 bits", write: ({ at }) => at.long.readSigned() },
  { name: "toNetwork, newest", newest: true, write: ({ a }) => a.toNetwork().raw() },
  { name: "reversed", write: ({ x }) => x.reversed(2) },
  { name: "a.sdiv(7), newest", newest: true, write: ({ a }) => a.sdiv(7) },
  { name: "x.smod(y), newest", newest: true, write: ({ x, y }) => x.smod(y) },

  {
    name: "constants are worked out when the program is built",
    write({ p, a }) {
      const seven = p.constant(7);
      p.require(seven.add(1).eq(8), XDP_DROP);
      return a.add(seven.mul(seven).shl(2));
    },
  },
  { name: "a multiplication by a power of two shifts", write: ({ a }) => a.mul(8) },
  { name: "a division by a power of two shifts", write: ({ x }) => x.div(1 << 12) },
  { name: "a modulo of a power of two masks", write: ({ x }) => x.mod(64) },
  { name: "shifts one way are one", write: ({ a }) => a.shl(3).shl(4) },
  { name: "half a register up and down is cut", write: ({ x }) => x.shl(32).shr(32) },
  { name: "a mask that changes nothing", write: ({ at }) => at.half.and(0xffff) },
  { name: "32 bits are not cut twice", write: ({ x }) => x.shr(32).u32().add(1) },
  {
    name: "what is computed twice is computed once",
    write({ p, a, b }) {
      p.require(a.mul(b).ne(3), XDP_DROP);
      return a.mul(b);
    },
  },
  {
    name: "a map's address is loaded once",
    write: ({ p, a, b }) =>
      p
        .mapValue(arena)
        .plus(a.and(0xff))
        .place(4)
        .add(p.mapValue(arena).plus(b.and(0xff)).place(4)),
  },
  {
    name: "loads wait for their readers",
    write({ at, memory }) {
      const words = Array.from({ length: 12 }, (_, index) =>
        memory
          .plus(index * 8)
          .place(8)
          .read(),
      );
      at.long.set(words.reduce((sum, word) => sum.mul(31).add(word)));
    },
  },
  {
    name: "what is read on one side only holds no register on the other",
    write({ p, at, a, x, y }) {
      const late = [x.add(y), x.sub(y), x.mul(y), x.xor(y)];
      p.if(
        a.eq(1),
        () => at.long.set(p.call(Helper.ktimeGetNs)),
        () => at.long.set(late.reduce((sum, value) => sum.mul(31).add(value))),
      );
    },
  },

  { name: "a function", write: ({ p, x }) => p.call(square, x) },
  { name: "a function's address", write: ({ p }) => callEach(p, 10, each, p.stack(8)) },
  {
    name: "repeat",
    write: ({ p, at }) => p.repeat(10, (index) => at.long.increase(index)),
  },
  {
    name: "while",
    write({ p, at }) {
      const left = p.variable(at.word);
      p.while(
        () => left.ne(0),
        () => left.set(left.sub(1)),
      );
    },
  },
  {
    name: "mayLeave",
    newest: true,
    write: ({ p, at }) =>
      p.loop(({ done }) => {
        p.mayLeave(done);
        p.leaveIf(at.long.eq(0), done);
      }),
  },
  {
    name: "forEachNumber",
    newest: true,
    write: ({ p, at, a }) => forEachNumber(p, 0, a, (index) => at.long.increase(index)),
  },
  {
    name: "a variable of the kernel",
    write: ({ p }) => p.kernelVariable("jiffies").place(8).read(),
  },
  {
    name: "writeRecord",
    write: ({ p, a }) =>
      writeRecord(p, ring, Fields, XDP_DROP, (record, discard) => {
        p.leaveIf(a.eq(0), discard);
        record.word.set(a);
      }),
  },
  {
    name: "locked",
    write({ p }) {
      const value = p.lookup(guarded, 0, XDP_DROP).as(Guarded);
      locked(p, value.lock, () => value.count.increase(1));
    },
  },
  {
    name: "setUpTimer",
    write({ p }) {
      const value = p.lookup(guarded, 0, XDP_DROP).as(Guarded);
      setUpTimer(p, guarded, value.timer, each);
      startTimer(p, value.timer, 1000);
    },
  },
  {
    name: "a dynptr",
    write: ({ p }) => dynptrOver(p, p.mapValue(arena), 64).slice(0, 8, XDP_DROP).place(8).read(),
  },

  {
    name: "what lives across a fast call, oldest",
    write: ({ p, a, x }) => x.add(p.call(Helper.getSmpProcessorId)).add(a),
  },
  {
    name: "what lives across a fast call, newest",
    newest: true,
    write: ({ p, a, x }) => x.add(p.call(Helper.getSmpProcessorId)).add(a),
  },
  {
    name: "fast calls keep their own arguments' registers free, and the innermost pair lies lowest",
    newest: true,
    write({ p, memory, a, b, x, y }) {
      const cpu = p.call(Helper.getSmpProcessorId);
      const sum = a.add(b).u64().add(x).add(y).add(cpu);
      const kernel = p.call(Kfunc.readOnlyCast, memory, 0);
      return sum.add(p.pointer(kernel).place(8)).add(memory.place(8));
    },
  },
  {
    name: "a call that is not fast between fast ones keeps nothing",
    newest: true,
    write({ p, a }) {
      const first = p.call(Helper.getSmpProcessorId).add(a);
      const second = p.call(Helper.ktimeGetNs).add(first);
      return p.call(Helper.getSmpProcessorId).add(second);
    },
  },

  {
    name: "arenaPointer",
    newest: true,
    write({ p, a }) {
      const at = arenaPointer(p, pages, 16);
      at.place(8).atomicAdd(p.constant(1, 8));
      return at.plus(a).plus(4).place(4).read();
    },
  },
  {
    name: "fromUserAddress: what is only cast into is named",
    newest: true,
    write: ({ p, x }) => fromUserAddress(p, pages, x).plus(8).place(4).read(),
  },
  {
    name: "toUserAddress",
    newest: true,
    write: ({ p }) => toUserAddress(p, pages, arenaPointer(p, pages).plus(64)),
  },
  {
    name: "the same address is cast once",
    newest: true,
    write: ({ p, x }) =>
      fromUserAddress(p, pages, x)
        .place(4)
        .add(fromUserAddress(p, pages, x).plus(4).place(4)),
  },
  {
    name: "allocatePages, freePages",
    newest: true,
    write({ p, a }) {
      const first = allocatePages(p, pages, 2, XDP_DROP);
      first.place(4).set(a);
      freePages(p, pages, first, 2);
    },
  },

  {
    name: "whole program: spills, a guarded lookup and a counter",
    write({ p, at, a, b, x, y }) {
      const entry = p.lookup(counters, a.and(7), XDP_PASS).as(Fields);
      entry.long.increase(1);
      const sum = a.add(b).u64().add(x).add(y).add(at.long).add(entry.long);
      p.call(Helper.redirect, sum.u32(), 0);
      p.require(sum.gt(p.call(Helper.ktimeGetNs)), XDP_DROP);
      return sum;
    },
  },
];

const skbRows: readonly {
  readonly name: string;
  readonly write: (p: SkbBuilder) => Scalar;
}[] = [
  { name: "loadPacket at a constant", write: (p) => loadPacket(p, 2, 12) },
  { name: "loadPacket before the packet", write: (p) => loadPacket(p, 1, SKF_NET_OFF + 9) },
  {
    name: "loadPacket at an index: the context stays in r6",
    write(p) {
      const headerLength = loadPacket(p, 1, 14).and(15).shl(2);
      return loadPacket(p, 4, 16, headerLength).add(headerLength).add(p.context.mark);
    },
  },
  {
    name: "loadPacket among calls and loads by a pointer",
    write(p) {
      const { context } = p;
      const start = p.call(Helper.ktimeGetNs);
      const type = loadPacket(p, 2, 12);
      p.require(type.eq(0x0800), 0);
      return p.call(Helper.ktimeGetNs).sub(start).add(type).add(context.length);
    },
  },
];

const FILE = new URL("testdata/constructs.txt", import.meta.url);

function textOf({ write, newest }: Row): string {
  const program = xdp("construct", (p) => {
    const memory = new Pointer(p, p.contextRegister.register);
    const value = (offset: number, size: 4 | 8): Value => memory.plus(offset).place(size).read();
    const [a, b, x, y] = [value(200, 4), value(204, 4), value(208, 8), value(216, 8)];
    const result = write({ p, memory, at: memory.as(Fields), a, b, x, y });
    p.return(result ?? XDP_TX);
  });
  return disassemble(compile(program, newest === true ? { target: NEWEST_TARGET } : {}));
}

const skbTextOf = ({ write }: (typeof skbRows)[0]): string =>
  disassemble(compile(schedCls("construct", (p) => p.return(write(p)))));

const sections = [
  ...rows.map((row) => ({ name: row.name, text: textOf(row) })),
  ...skbRows.map((row) => ({ name: row.name, text: skbTextOf(row) })),
];
const written = sections.map(({ name, text }) => `# ${name}\n${text}\n`);
if (process.env["BPF_WRITE_CONSTRUCTS"] !== undefined) writeFileSync(FILE, written.join("\n"));
const expected = readFileSync(FILE, "utf8").split(/^(?=# )/m);

sections.forEach(({ name }, index) => {
  test(`${name} becomes the instructions expected`, () => {
    assert.equal(written[index], expected[index]?.replace(/\n\n$/, "\n"));
  });
});

test("testdata/constructs.txt has a section per row", () =>
  assert.equal(expected.length, sections.length));

test("compile() is deterministic", () => {
  for (const row of rows) assert.equal(textOf(row), textOf(row), row.name);
});
