import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { be16, be32, be64, bytes, describe, pad, struct, u16, u32, u64, u8 } from "./layout.ts";

const Everything = struct(
  "everything",
  { a: u8, b: u16, c: u32, d: u64, e: be16, f: be32, g: be64, h: bytes(6), hole: pad(3) },
  { packed: true, size: 38 },
);

test("describe() prints the offset table", () => {
  assert.equal(
    describe(Everything),
    [
      "struct everything 38",
      "   0   1 a",
      "   1   2 b",
      "   3   4 c",
      "   7   8 d",
      "  15   2 e be",
      "  17   4 f be",
      "  21   8 g be",
      "  29   6 h",
      "  35   3 hole",
    ].join("\n"),
  );
});

test("encode() lays host order out little endian and network order big endian", () => {
  const record = {
    a: 0x01,
    b: 0x0102,
    c: 0x01020304,
    d: 0x0102030405060708n,
    e: 0x0102,
    f: 0x01020304,
    g: 0x0102030405060708n,
    h: Uint8Array.of(1, 2, 3, 4, 5, 6),
  };
  assert.equal(
    Buffer.from(Everything.encode(record)).toString("hex"),
    "01 0201 04030201 0807060504030201 0102 01020304 0102030405060708 010203040506 000000".replaceAll(
      " ",
      "",
    ),
  );
});

test("read() gives back what write() wrote, at any offset, and nothing else is touched", () => {
  const record = fc.record(
    {
      a: fc.nat(0xff),
      b: fc.nat(0xffff),
      c: fc.nat(0xffff_ffff),
      d: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      e: fc.nat(0xffff),
      f: fc.nat(0xffff_ffff),
      g: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      h: fc.uint8Array({ minLength: 6, maxLength: 6 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(record, fc.nat(9), (written, at) => {
      const into = new Uint8Array(50).fill(0xee);
      Everything.write(into, written, at);
      assert.deepEqual(Everything.read(into, at), written);
      assert.deepEqual(Everything.read(Everything.encode(written)), written);
      // Padding and what lies around stays as it was.
      assert.ok(into.subarray(0, at).every((byte) => byte === 0xee));
      assert.ok(into.subarray(at + 35).every((byte) => byte === 0xee));
      // A view into a larger buffer has its own start.
      assert.deepEqual(Everything.read(into.subarray(at)), written);
    }),
  );
});

test("write() leaves fields that are not given", () => {
  const into = Everything.encode({ a: 1, c: 2 });
  Everything.write(into, { c: 3 });
  assert.deepEqual([Everything.read(into).a, Everything.read(into).c], [1, 3]);
});

const refused = [
  {
    name: "a misaligned field",
    run: () => struct("s", { a: u8, b: u32 }),
    error: {
      name: "TypeError",
      message: /field "b" of 4 bytes would lie at offset 1, put pad\(3\)/,
    },
  },
  {
    name: "a size the fields do not make",
    run: () => struct("s", { a: u32 }, { size: 8 }),
    error: { name: "TypeError", message: /fields make 4 bytes, declared 8/ },
  },
  {
    name: "too few bytes for a field of bytes",
    run: () => Everything.encode({ h: new Uint8Array(5) }),
    error: { name: "RangeError", message: /"h": 5 bytes given, 6 needed/ },
  },
  {
    name: "a number that is too wide",
    run: () => Everything.encode({ b: 0x10000 }),
    error: { name: "RangeError", message: /"b": 65536 is no unsigned number of 16 bits/ },
  },
  {
    name: "a bigint that is too wide",
    run: () => Everything.encode({ g: 2n ** 64n }),
    error: { name: "RangeError", message: /"g": 18446744073709551616 is no unsigned/ },
  },
  {
    name: "a negative number",
    run: () => Everything.encode({ f: -1 }),
    error: { name: "RangeError", message: /"f": -1 is no unsigned number of 32 bits/ },
  },
  {
    name: "reading past the end",
    run: () => Everything.read(new Uint8Array(37), 3),
    error: { name: "RangeError" },
  },
  {
    name: "writing past the end",
    run: () => Everything.write(new Uint8Array(30), { h: new Uint8Array(6) }),
    error: { name: "RangeError" },
  },
];

for (const { name, run, error } of refused) {
  test(`struct() refuses ${name}`, () => assert.throws(run, error));
}
