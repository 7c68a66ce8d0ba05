import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { disassemble } from "../src/bpf/disassemble.ts";
import { struct, u32 } from "../src/bpf/layout.ts";
import { globalData, hash } from "../src/bpf/maps.ts";
import { imageOfObject, readBpfObject } from "./bpf-object.ts";

const lines = readFileSync(new URL("testdata/object.hex", import.meta.url), "utf8").split("\n");
/** Its source stands on top of it. */
const file = (): Uint8Array =>
  Uint8Array.from(Buffer.from(lines.filter((line) => !line.startsWith("#")).join(""), "hex"));

const table = globalData("table", 64);
const set = hash("set", 4, struct("present", { present: u32 }), 8);

test("readBpfObject() finds the program and what it refers to", () => {
  const { instructions, references } = readBpfObject(file());
  assert.equal(instructions.length % 8, 0);
  assert.deepEqual(
    references.map(({ symbol, addend }) => [symbol, addend]),
    [
      ["table", 0],
      ["table", 0],
      ["set", 0],
    ],
  );
});

test("readBpfObject() keeps the distance behind a symbol", () => {
  // The immediate of the second load, instruction 2 of the section that starts at byte 64.
  const object = readBpfObject(changed(() => 64 + 2 * 8 + 4, 24));
  assert.deepEqual(
    object.references.map(({ instruction, addend }) => [instruction, addend]),
    [
      [0, 0],
      [2, 24],
      [5, 0],
    ],
  );
  assert.match(
    disassemble(imageOfObject("far", object, [table, set])),
    /r2 = map\[table\]\[0\]\+24$/m,
  );
});

test("readBpfObject() takes a file that lies inside a larger buffer", () => {
  const around = new Uint8Array(file().length + 24);
  around.set(file(), 8);
  const inside = around.subarray(8, 8 + file().length);
  assert.deepEqual(readBpfObject(inside), readBpfObject(file()));
  assert.deepEqual(
    imageOfObject("inside", readBpfObject(inside), [table, set]).instructions,
    imageOfObject("inside", readBpfObject(file()), [table, set]).instructions,
  );
});

test("imageOfObject() addresses an array of one entry directly, and hands other maps to helpers", () => {
  const image = imageOfObject("linked", readBpfObject(file()), [set, table]);
  assert.equal(
    disassemble(image),
    [
      "   0: (18) r6 = map[table][0]+0",
      "   2: (18) r2 = map[table][0]+0",
      "   4: (07) r2 += 24",
      "   5: (18) r1 = map[set]",
      "   7: (85) call bpf_map_lookup_elem#1",
      "   8: (bf) r1 = r0",
      "   9: (b4) w0 = 1",
      "  10: (15) if r1 == 0x0 goto pc+1",
      "  11: (61) r0 = *(u32 *)(r6 +0)",
      "  12: (95) exit",
    ].join("\n"),
  );
  assert.deepEqual(
    image.maps.map(({ instruction, map }) => [instruction, map.name]),
    [
      [0, "table"],
      [2, "table"],
      [5, "set"],
    ],
  );
});

test("imageOfObject() refuses a map it is not given", () => {
  assert.throws(
    () => imageOfObject("linked", readBpfObject(file()), [table]),
    /refers to "set": no such map/,
  );
});

/** The file with one number of it changed; `at` finds the number. */
function changed(at: (view: DataView) => number, value: number): Uint8Array {
  const bytes = file();
  const view = new DataView(bytes.buffer);
  view.setUint16(at(view), value, true);
  return bytes;
}

/** Where the section of `type` starts; its header tells. */
function sectionAt(view: DataView, type: number): number {
  const headers = Number(view.getBigUint64(40, true));
  for (let at = headers; at < view.byteLength; at += 64) {
    if (view.getUint32(at + 4, true) === type) return Number(view.getBigUint64(at + 24, true));
  }
  return assert.fail(`no section of type ${type}`);
}
const [SHT_SYMTAB, SHT_REL] = [2, 9];

for (const { name, bytes, says } of [
  { name: "nothing", bytes: new Uint8Array(), says: /no ELF64 object file/ },
  { name: "zeros", bytes: new Uint8Array(64), says: /no ELF64 object file/ },
  { name: "another machine", bytes: changed(() => 18, 62), says: /no ELF64 object file/ },
  { name: "32 bits", bytes: changed(() => 4, 0x0101), says: /no ELF64 object file/ },
  { name: "no sections", bytes: changed(() => 60, 0), says: /no names of sections/ },
  {
    name: "a call of another function",
    bytes: changed((view) => sectionAt(view, SHT_REL) + 8, 10),
    says: /refers to "table" by relocation 10/,
  },
  {
    name: "data of its own",
    bytes: changed((view) => {
      const symbol = view.getUint32(sectionAt(view, SHT_REL) + 12, true);
      return sectionAt(view, SHT_SYMTAB) + symbol * 24 + 6;
    }, 3),
    says: /refers to "table" by relocation 1: only loads of undefined symbols/,
  },
]) {
  test(`readBpfObject() refuses ${name}`, () => {
    assert.throws(() => readBpfObject(bytes), says);
  });
}
