import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { internetChecksum, onesSum, pseudoHeaderSum, updateChecksum } from "./checksum.ts";

const rows = [
  { name: "nothing", bytes: "", checksum: 0xffff },
  { name: "zeros", bytes: "00000000", checksum: 0xffff },
  // RFC 1071 §3: the sum of these words is ddf2.
  { name: "RFC 1071's example", bytes: "0001f203f4f5f6f7", checksum: 0x220d },
  { name: "an odd last byte is an upper half", bytes: "0001f2", checksum: 0x0dfe },
  // An IPv4 header, RFC 791 §3.1, summed by hand: 4500+0054+4000+4001+c000+0201+c000+0202 = 24958.
  { name: "an IPv4 header", bytes: "450000540000400040010000c0000201c0000202", checksum: 0xb6a5 },
];

for (const { name, bytes, checksum } of rows) {
  test(`internetChecksum() of ${name}`, () => {
    assert.equal(internetChecksum(Buffer.from(bytes, "hex")).toString(16), checksum.toString(16));
  });
}

test("internetChecksum() over data with its checksum in place is 0", () => {
  fc.assert(
    fc.property(evenBytes(2, 200), (bytes) => {
      const data = Uint8Array.of(0, 0, ...bytes);
      new DataView(data.buffer).setUint16(0, internetChecksum(data));
      assert.equal(internetChecksum(data), 0);
    }),
  );
});

test("onesSum() continues where another ended", () => {
  fc.assert(
    fc.property(evenBytes(0, 100), fc.uint8Array({ maxLength: 100 }), (head, tail) => {
      assert.equal(onesSum(tail, onesSum(head)), onesSum(Uint8Array.of(...head, ...tail)));
    }),
  );
});

test("onesSum() is exact for 1 MiB of ones", () => {
  assert.equal(onesSum(new Uint8Array(1 << 20).fill(0xff)), 0xffff);
});

test("updateChecksum() equals the checksum of the changed data", () => {
  fc.assert(
    // A first word that is not 0 or ffff: all-zero data has two checksums (RFC 1624 §3).
    fc.property(
      fc.integer({ min: 1, max: 0xfffe }),
      evenBytes(0, 40),
      fc.uint8Array({ maxLength: 21 }),
      fc.uint8Array({ maxLength: 21 }),
      (first, head, before, after) => {
        const of = (changed: Uint8Array): number =>
          internetChecksum(Uint8Array.of(first >> 8, first & 0xff, ...head, ...changed));
        assert.equal(updateChecksum(of(before), before, after) % 0xffff, of(after) % 0xffff);
      },
    ),
  );
});

test("updateChecksum() avoids the zero of RFC 1141", () => {
  // RFC 1624 §4: the checksum is dd2f, 5555 becomes 3285; eqn. 2 would give ffff, which is wrong.
  const updated = updateChecksum(0xdd2f, Uint8Array.of(0x55, 0x55), Uint8Array.of(0x32, 0x85));
  assert.equal(updated, 0x0000);
});

test("pseudoHeaderSum() counts every field", () => {
  const [source, destination] = [Uint8Array.of(192, 0, 2, 1), Uint8Array.of(192, 0, 2, 2)];
  // c000 + 0201 + c000 + 0202 + 0006 + 0014 = 1841d
  assert.equal(pseudoHeaderSum(source, destination, 6, 20), 0x841e);
});

function evenBytes(minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> {
  return fc
    .uint8Array({ minLength, maxLength })
    .map((bytes) => bytes.subarray(0, bytes.length & ~1));
}
