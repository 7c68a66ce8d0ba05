/** What an author does wrong fails where it is written, with a sentence. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { allocatePages, arenaPointer, fromUserAddress, toUserAddress } from "./arena.ts";
import { FunctionBuilder } from "./function.ts";
import { Helper } from "./helpers.ts";
import { be16, be32, bytes, struct, u16, u32, u64, u8 } from "./layout.ts";
import { locked } from "./lock.ts";
import { forEachNumber } from "./loops.ts";
import { arenaMap, globalData, hash, perCpuArray, progArray, ringBuffer } from "./maps.ts";
import { loadPacket } from "./packet-load.ts";
import { compile } from "./program.ts";
import { outputRecord, writeRecord } from "./ring-buffer.ts";
import { SkbBuilder } from "./skb.ts";
import { type SourceLocation, sourceText } from "./source.ts";
import { pointerTo, subprogram } from "./subprogram.ts";
import { NEWEST_TARGET, OLDEST_TARGET, TargetError, type FeatureName } from "./target.ts";
import { any, not, type Value } from "./value.ts";
import { Pointer, type View } from "./view.ts";
import { xdp, XDP_DROP, XDP_PASS, type XdpBuilder } from "./xdp.ts";

const Fields = struct(
  "fields",
  { byte: u8, half: u16, word: u32, long: u64, port: be16, address: be32, mac: bytes(6) },
  { packed: true },
);
const wideKeys = hash("wide_keys", 16, Fields, 8);
const counters = perCpuArray("counters", Fields, 8);
const arena = globalData("arena", 64);
const pages = arenaMap("pages", 16);
const programs = progArray("programs", 2);
const ring = ringBuffer("ring", 4096);
const three = subprogram("three", [], (f) => f.return(3));

interface World {
  readonly p: XdpBuilder;
  readonly at: View<typeof Fields.fields>;
  readonly memory: Pointer;
  /** Of another program, over a socket buffer. */
  readonly skb: SkbBuilder;
  /** Of another function. */
  readonly other: FunctionBuilder;
  readonly stray: Value;
}

const rows: readonly {
  readonly name: string;
  readonly write: (world: World) => void;
  readonly message: RegExp;
}[] = [
  {
    name: "mixing byte orders in arithmetic",
    write: ({ at }) => at.word.and(at.address),
    message:
      /^Cannot mix a value in host order with one in network order: convert one with toHost\(\)/,
  },
  {
    name: "mixing byte orders in a comparison",
    write: ({ at }) => at.port.eq(at.half),
    message: /^Cannot mix a value in network order with one in host order/,
  },
  {
    name: "comparing network order of different sizes",
    write: ({ at }) => at.port.eq(at.address),
    message: /^Cannot mix 2 and 4 bytes in network order/,
  },
  {
    name: "storing host order in a field in network order",
    write: ({ at }) => at.port.set(at.half),
    message: /^Cannot mix a value in network order with one in host order/,
  },
  {
    name: "storing network order in a field in host order",
    write: ({ at }) => at.word.set(at.address),
    message: /^Cannot mix a value in host order with one in network order/,
  },
  {
    name: "storing four bytes of network order in two",
    write: ({ at }) => at.port.set(at.address),
    message: /^Cannot mix 2 and 4 bytes in network order/,
  },
  {
    name: "taking two bytes of four in network order",
    write: ({ at }) => at.address.read().toNetwork(2),
    message: /^Cannot take 2 bytes of 4 in network order/,
  },
  {
    name: "an ordered comparison in network order",
    write: ({ at }) => at.port.lt(1024),
    message: /^Cannot compare a value in network order: convert it with toHost\(\) first$/,
  },
  {
    name: "adding in network order",
    write: ({ at }) => at.address.add(1),
    message: /^Cannot add a value in network order/,
  },
  {
    name: "negating in network order",
    write: ({ at }) => at.port.read().neg(),
    message: /^Cannot negate a value in network order/,
  },
  {
    name: "returning network order",
    write: ({ p, at }) => p.return(at.port),
    message: /^Cannot return a value in network order/,
  },
  {
    name: "increasing a counter in network order",
    write: ({ at }) => at.address.increase(1),
    message: /^Cannot add a value in network order/,
  },
  {
    name: "adding atomically in network order",
    write: ({ p, at }) => at.address.atomicAdd(p.constant(1)),
    message: /^Cannot add atomically in network order/,
  },
  {
    name: "a constant wider than a field in network order",
    write: ({ at }) => at.port.eq(0x10000),
    message: /^Cannot use 65536 beside a field of 2 bytes in network order$|never equal/,
  },
  {
    name: "a negative constant in network order",
    write: ({ at }) => at.address.set(-1),
    message: /^Cannot use -1 beside a field of 4 bytes in network order$/,
  },
  {
    name: "a constant of 33 bits beside 32",
    write: ({ at }) => at.word.add(0x1_0000_0000),
    message: /^Cannot use 4294967296 as a constant: it does not fit 32 bits$/,
  },
  {
    name: "a constant of 65 bits",
    write: ({ at }) => at.long.xor(2n ** 64n),
    message: /^Cannot use 18446744073709551616 as a constant: it does not fit 64 bits$/,
  },
  {
    name: "storing a constant that is too wide",
    write: ({ at }) => at.byte.set(256),
    message: /^Cannot use 256 as a constant: it does not fit 8 bits$/,
  },
  {
    name: "comparing a byte with what it can never be",
    write: ({ at }) => at.byte.eq(256),
    message: /^Cannot compare a value of 8 bits with 256: it is never equal$/,
  },
  {
    name: "a variable given more than it holds",
    write: ({ p }) => p.variable(0x10000, 2),
    message: /^Cannot use 65536 as a constant: it does not fit 16 bits$/,
  },
  {
    name: "a constant of a size it does not fit",
    write: ({ p }) => p.constant(256, 1),
    message: /^Cannot use 256 as a constant: it does not fit 8 bits$/,
  },
  {
    name: "shifting 32 bits by 32",
    write: ({ at }) => at.word.shl(32),
    message: /^Cannot shift a 32-bit value by 32$/,
  },
  {
    name: "shifting by a negative number",
    write: ({ at }) => at.long.sar(-1),
    message: /^Cannot shift a 64-bit value by -1$/,
  },
  {
    name: "dividing by the constant 0",
    write: ({ at }) => at.word.mod(0),
    message: /^Cannot divide by the constant 0/,
  },
  {
    name: "too few arguments",
    write: ({ p }) => p.call(Helper.mapLookup, 1),
    message: /^Cannot call bpf_map_lookup_elem with 1 arguments: it takes 2$/,
  },
  {
    name: "a sixth parameter",
    write: ({ p }) => p.parameter(5),
    message: /^Cannot take parameter 5: a function has 5, counted from 0$/,
  },
  {
    name: "more stack than there is",
    write: ({ p }) => p.stack(513),
    message: /^Cannot take 513 bytes of stack: 520 of 512 are asked for$/,
  },
  {
    name: "no bytes of stack",
    write: ({ p }) => p.stack(-8),
    message: /^Cannot take -8 bytes of stack: a whole number above 0 is needed$/,
  },
  {
    name: "a run-time distance on the stack",
    write: ({ p, at }) => p.stack(64).plus(at.word),
    message: /^Cannot add a run-time distance to a stack address/,
  },
  {
    name: "half a byte further",
    write: ({ memory }) => memory.plus(0.5),
    message: /^Cannot go 0.5 bytes further: a whole number is needed$/,
  },
  {
    name: "an offset no instruction holds",
    write: ({ memory }) => memory.plus(0x8000).place(4).read(),
    message: /^Cannot access memory 32768 bytes from a pointer: 32767 is the furthest/,
  },
  {
    name: "reading outside a field of bytes",
    write: ({ at }) => at.mac.word(4, 4),
    message: /^Cannot read 4 bytes at 4: the field has 6$/,
  },
  {
    name: "copying bytes of another length",
    write: ({ at }) => at.mac.set(new Uint8Array(4)),
    message: /^Cannot copy 4 bytes into a field of 6$/,
  },
  {
    name: "adding atomically to two bytes",
    write: ({ p, at }) => at.half.atomicAdd(p.constant(1)),
    message: /^Cannot add atomically to 2 bytes: 4 or 8 are possible$/,
  },
  {
    name: "addressing a map with entries directly",
    write: ({ p }) => p.mapValue(counters),
    message: /^Cannot address map "counters" directly: only an array of one entry can be$/,
  },
  {
    name: "addressing a byte outside the arena",
    write: ({ p }) => p.mapValue(arena, 64),
    message: /^Cannot address byte 64 of map "arena": its value has 64 bytes$/,
  },
  {
    name: "going on in a program of a map without any",
    write: ({ p }) => p.tailCall(p.contextRegister, counters, 0, XDP_DROP),
    message: /^Cannot go on in a program of map "counters": only a program array has any$/,
  },
  {
    name: "going on in a slot the array does not have",
    write: ({ p }) => p.tailCall(p.contextRegister, programs, 2, XDP_DROP),
    message: /^Cannot go on in slot 2 of map "programs": it has 2$/,
  },
  {
    name: "looking a number up under a wide key",
    write: ({ p }) => p.lookup(wideKeys, 1, XDP_DROP),
    message: /^Cannot look up a number in map "wide_keys": its keys have 16 bytes$/,
  },
  {
    name: "a value of another function as an operand",
    write: ({ at, stray }) => at.word.add(stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "a value of another function stored",
    write: ({ at, stray }) => at.word.set(stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "a value of another function as an argument",
    write: ({ p, stray }) => p.call(Helper.redirect, stray, 0),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "a value of another function returned",
    write: ({ p, stray }) => p.return(stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "a condition of another function",
    write: ({ p, stray }) => p.require(any(not(stray.eq(1))), XDP_PASS),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "a value of another function added atomically",
    write: ({ at, stray }) => at.word.atomicAdd(stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "an exit of another function",
    write: ({ p, other }) => p.goto(other.exit(() => other.return(0))),
    message: /^Cannot leave by an exit of another function/,
  },
  {
    name: "leaving where a record is held",
    write: ({ p }) => writeRecord(p, ring, Fields, XDP_DROP, () => p.goto(XDP_PASS)),
    message: /^Cannot leave here: the record must be given back first$/,
  },
  {
    name: "returning with a lock held",
    write: ({ p, at }) => locked(p, at.mac, () => p.return(0)),
    message: /^Cannot leave here: the lock must be given back first$/,
  },
  {
    name: "leaving a loop around the one of an iterator",
    write: ({ p }) => p.loop(({ done }) => forEachNumber(p, 0, 9, () => p.goto(done))),
    message: /^Cannot leave here: the iterator must be given back first$/,
  },
  {
    name: "records in a map that is no ring buffer",
    write: ({ p }) => outputRecord(p, counters, p.stack(8), 8),
    message: /^Cannot write records to map "counters": it is no ring buffer$/,
  },
  {
    name: "a ring buffer of half a page",
    write: () => ringBuffer("ring", 2048),
    message: /^Cannot declare ring buffer "ring" of 2048 bytes: a power of two/,
  },
  {
    name: "repeating half a time",
    write: ({ p }) => p.repeat(0.5, () => {}),
    message: /^Cannot repeat 0.5 times: a whole number above 0 is needed$/,
  },
  {
    name: "sign-extending 32 bits to 32",
    write: ({ at }) => at.word.read().signExtend(32, 4),
    message: /^Cannot sign-extend 32 bits to 32: they are as many$/,
  },
  {
    name: "reading a signed number in network order",
    write: ({ at }) => at.port.readSigned(),
    message: /^Cannot read a signed number in network order/,
  },
  {
    name: "exchanging a byte",
    write: ({ at }) => at.byte.exchange(1),
    message: /^Cannot exchange atomically to 1 bytes: 4 or 8 are possible$/,
  },
  {
    name: "an atomic operand that is too wide",
    write: ({ at }) => at.word.fetchAdd(1n << 32n),
    message: /^Cannot use 4294967296 as a constant: it does not fit 32 bits$/,
  },
  {
    name: "a signed division by the constant 0",
    write: ({ at }) => at.long.sdiv(0),
    message: /^Cannot divide by the constant 0/,
  },
  {
    name: "loading from the packet in an XDP program",
    write: ({ p }) => loadPacket(p, 2, 12),
    message: /^Cannot load from the packet in "misuse": only programs over socket buffers \(tc,/,
  },
  {
    name: "loading from the packet in a function",
    write: ({ other }) => loadPacket(other, 2, 12),
    message: /^Cannot load from the packet in "other": only programs over socket buffers \(tc,/,
  },
  {
    name: "loading 8 bytes of the packet",
    write: ({ skb }) => loadPacket(skb, 8, 0),
    message: /^Cannot load 8 bytes of the packet at once: 1, 2 or 4 are possible$/,
  },
  {
    name: "loading from the packet at more than 32 bits",
    write: ({ skb }) => loadPacket(skb, 4, 2 ** 31),
    message: /^Cannot load from the packet at 2147483648: no whole number of 32 bits$/,
  },
  {
    name: "loading from the packet at a port in network order",
    write: ({ skb }) => loadPacket(skb, 4, 0, skb.constant(1).toNetwork(2)),
    message: /^Cannot load from the packet at an index in network order: convert it/,
  },
  {
    name: "loading from the packet at another function's value",
    write: ({ skb, stray }) => loadPacket(skb, 4, 0, stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "loading from the packet, which may end the program, with a lock held",
    write: ({ skb, at }) => skb.held("the lock", () => loadPacket(skb, 4, at.mac.size)),
    message: /^Cannot leave here: the lock must be given back first$/,
  },
  {
    name: "an address in a map that is no arena",
    write: ({ p }) => arenaPointer(p, arena),
    message: /^Cannot use addresses in map "arena": it is no arena$/,
  },
  {
    name: "casting an address into a map that is no arena",
    write: ({ p, at }) => fromUserAddress(p, counters, at.long.read()),
    message: /^Cannot use addresses in map "counters": it is no arena$/,
  },
  {
    name: "pages of a map that is no arena",
    write: ({ p }) => allocatePages(p, counters, 1, XDP_DROP),
    message: /^Cannot use addresses in map "counters": it is no arena$/,
  },
  {
    name: "a byte of an arena that no instruction names",
    write: ({ p }) => arenaPointer(p, pages, 2 ** 29),
    message:
      /^Cannot address byte 536870912 of arena "pages": 536870911 is the furthest, add a value$/,
  },
  {
    name: "an arena's address of another function",
    write: ({ p, stray }) => fromUserAddress(p, pages, stray),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "another function's pointer for user space",
    write: ({ p, other }) => toUserAddress(p, pages, arenaPointer(other, pages)),
    message: /^Cannot use what was made in another function/,
  },
  {
    name: "an arena of no page",
    write: () => arenaMap("pages", 0),
    message: /^Cannot declare arena "pages" of 0 pages: 1 to 1048576 are possible$/,
  },
  {
    name: "a function's name that is too long",
    write: () => subprogram("sixteen_letters_", [], (f) => f.return(0)),
    message: /^Cannot build function "sixteen_letters_": names have 1 to 15 letters/,
  },
  {
    name: "a global function of an address of anything",
    write: () => subprogram("f", [pointerTo(null)], (f) => f.return(0), { global: true }),
    message: /^Cannot build global function "f": the verifier must know/,
  },
  {
    name: "calling a function with too much",
    write: ({ p }) => p.call(three, 1, 2),
    message: /^Cannot call three with 2 arguments: it takes 0$/,
  },
  {
    name: "a program's name that is too long",
    write: () => xdp("sixteen_letters_", (p) => p.return(0)),
    message: /^Cannot build program "sixteen_letters_": names have 1 to 15 letters/,
  },
  {
    name: "a program's name that is no identifier",
    write: () => xdp("1st", (p) => p.return(0)),
    message: /^Cannot build program "1st": names have 1 to 15 letters/,
  },
  {
    name: "a map's name that is too long",
    write: () => globalData("sixteen_letters_", 8),
    message: /^Cannot declare map "sixteen_letters_": names have 1 to 15 letters/,
  },
  {
    name: "an end without a return",
    write: () => xdp("p", (p) => p.call(Helper.jiffies64)),
    message: /^Cannot build "p": its end is reached without a return$/,
  },
  {
    name: "a side of an if without a return",
    write: () => xdp("p", (p) => p.if(p.contextRegister.eq(0), () => p.return(0))),
    message: /^Cannot build "p": its end is reached without a return$/,
  },
  {
    name: "an exit without a return",
    write: () => xdp("p", (p) => p.goto(p.exit(() => p.call(Helper.jiffies64)))),
    message: /^Cannot build "p": an exit ends without a return$/,
  },
];

for (const { name, write, message } of rows) {
  test(`the builder refuses ${name}, at the author's line`, () => {
    let thrown: unknown = null;
    xdp("misuse", (p) => {
      const memory = new Pointer(p, p.contextRegister.register);
      const other = new FunctionBuilder("other");
      const skb = new SkbBuilder("skb");
      const world = { p, memory, at: memory.as(Fields), skb, other, stray: other.constant(7) };
      try {
        write(world);
      } catch (error) {
        thrown = error;
      }
      p.return(0);
    });
    assert.ok(thrown instanceof Error, "it was taken");
    assert.match(thrown.message, message);
    const author = authorFrame(thrown);
    assert.ok(author !== null, thrown.stack);
    assert.equal(author.file, fileURLToPath(import.meta.url), thrown.stack);
    const line = sourceText(author)
      .replace(/^write: /, "")
      .replace(/,$/, "");
    assert.ok(write.toString().includes(line), `${line} is not where it was written`);
  });
}

test("compile() refuses what needs more stack than there is", () => {
  const program = xdp("crowded", (p) => {
    const memory = new Pointer(p, p.contextRegister.register);
    const values = Array.from({ length: 70 }, (_, index) =>
      memory
        .plus(index * 4)
        .place(4)
        .read(),
    );
    p.call(Helper.jiffies64);
    p.return(values.reduce((sum, value) => sum.add(value)));
  });
  assert.throws(() => compile(program), {
    name: "RangeError",
    message: /^Cannot build "crowded": \d+ bytes of stack are needed, 512 exist$/,
  });
});

test("compile() refuses fewer registers than a call takes", () => {
  const program = xdp("p", (p) => p.return(0));
  assert.throws(() => compile(program, { registersMax: 5 }), {
    name: "RangeError",
    message: "Cannot use 5 registers: 6 to 10 are possible",
  });
});

for (const { feature, what, write } of [
  { feature: "cpuV4", what: "divide with signs", write: ({ at }) => at.word.sdiv(at.long) },
  {
    feature: "acquireRelease",
    what: "load and acquire",
    write: ({ at }) => at.word.loadAcquire(),
  },
  {
    feature: "acquireRelease",
    what: "store and release",
    write: ({ at }) => at.word.storeRelease(1),
  },
  { feature: "mayGoto", what: "bound a loop", write: ({ p }) => p.mayLeave(XDP_PASS) },
  {
    feature: "arenas",
    what: "use an address in an arena",
    write: ({ p }) => arenaPointer(p, pages).place(4).set(1),
  },
  {
    feature: "arenas",
    what: "use pages of an arena",
    write: ({ p }) => allocatePages(p, pages, 1, XDP_DROP),
  },
  {
    feature: "openCodedIterators",
    what: "iterate",
    write: ({ p }) => forEachNumber(p, 0, 9, () => {}),
  },
] satisfies readonly {
  readonly feature: FeatureName;
  readonly what: string;
  readonly write: (world: Pick<World, "p" | "at">) => void;
}[]) {
  test(`compile() refuses to ${what} for a target without ${feature}, with the author's line`, () => {
    const program = xdp("newer", (p) => {
      write({ p, at: new Pointer(p, p.contextRegister.register).as(Fields) });
      p.return(0);
    });
    compile(program, { target: { ...OLDEST_TARGET, [feature]: true } });
    const lacking = { ...NEWEST_TARGET, [feature]: false };
    assert.throws(
      () => compile(program, { target: lacking }),
      (error) => {
        assert.ok(error instanceof TargetError);
        assert.equal(error.feature, feature);
        assert.ok(error.source !== null && write.toString().includes(sourceOf(error.source)));
        assert.match(error.message, new RegExp(`^Cannot ${what} at bpf/misuse.test.ts:\\d+: `));
        return true;
      },
    );
  });
}

const sourceOf = (location: SourceLocation): string =>
  sourceText(location)
    .replace(/^.*write: /, "")
    .replace(/( \})?,$/, "");

/** The first frame outside the builder: its own tests are authors too. */
function authorFrame(error: Error): { file: string; line: number; column: number } | null {
  for (const frame of error.stack?.split("\n") ?? []) {
    const match = /(?:file:\/\/)?(\/[^()]+?):(\d+):(\d+)\)?$/.exec(frame);
    if (match === null || /\/bpf\/[\w-]+\.ts$/.test(match[1] ?? "")) continue;
    return { file: match[1] ?? "", line: Number(match[2]), column: Number(match[3]) };
  }
  return null;
}
