import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import type { ProgramImage } from "../bpf/image.ts";
import { MapType } from "../bpf/image.ts";
import { Class, Mode, Pseudo, SizeBits } from "../bpf/isa.ts";
import { compile } from "../bpf/program.ts";
import { xdp } from "../bpf/xdp.ts";
import { KernelError } from "./errors.ts";
import {
  callHelper,
  EXIT,
  fault,
  imageOf,
  key,
  mapSpec,
  moveImm,
  skip,
  verdict,
} from "./kernel-fixture.ts";
import { createMap, mapInfo } from "./maps.ts";
import { loadProgram } from "./programs.ts";
import { TestRun } from "./test-run.ts";

const noMaps = (): number => assert.fail("no map in it");

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

/** Reads the packet without looking how long it is. */
const bad = (): ProgramImage =>
  compile(
    xdp("carom_bad", (p) => {
      const unchecked = p.packet().data.plus(12);
      p.return(unchecked.place(2).read()); // this very line
    }),
  );

test("loadProgram() loads, and info() tells what the kernel made of it", { skip }, () => {
  using program = loadProgram(verdict(2, "carom_pass"), noMaps);
  const info = program.info();
  assert.equal(info.name, "carom_pass");
  assert.equal(info.type, 6);
  assert.equal(info.verifiedInstructions, 2);
  assert.equal(info.xlatedBytes, 16);
  assert.ok(info.jitedBytes > 0 && info.id > 0);
  assert.match(info.tag, /^[0-9a-f]{16}$/);
  assert.deepEqual(info.mapIds, []);
});

test("loadProgram() writes the descriptors of maps into their instructions", { skip }, () => {
  const first = mapSpec({ name: "first", type: MapType.BPF_MAP_TYPE_ARRAY, maxEntries: 1 });
  const second = { ...first, name: "second" };
  using firstMap = createMap(first);
  using secondMap = createMap(second);
  secondMap.update(key(0), new Uint8Array(8).fill(42));
  const code = Class.LD | Mode.IMM | SizeBits[8];
  const address = [
    { code, dst: 1, src: Pseudo.MAP_VALUE, offset: 0, imm: 0 },
    { code: 0, dst: 0, src: 0, offset: 0, imm: 4 },
  ];
  const image = imageOf(
    [
      { code, dst: 2, src: Pseudo.MAP_FD, offset: 0, imm: 0 },
      { code: 0, dst: 0, src: 0, offset: 0, imm: 0 },
      ...address,
      { code: Class.LDX | Mode.MEM | SizeBits[1], dst: 0, src: 1, offset: 0, imm: 0 },
      EXIT,
    ],
    {
      maps: [
        { instruction: 0, map: first },
        { instruction: 2, map: second },
      ],
    },
  );
  const before = image.instructions.slice();
  using program = loadProgram(image, (spec) => (spec === first ? firstMap.fd : secondMap.fd));
  assert.deepEqual(image.instructions, before, "the image is left as it was");
  assert.equal(new TestRun(program.fd, { maxPacket: 64 }).run(new Uint8Array(64)).verdict, 42);
  const ids = [mapInfo(firstMap.fd).id, mapInfo(secondMap.fd).id];
  assert.deepEqual(new Set(program.info().mapIds), new Set(ids));
});

test("A rejected program names the line of TypeScript", { skip }, () => {
  assert.throws(
    () => loadProgram(bad(), noMaps),
    (error: unknown) => {
      assert.ok(error instanceof KernelError);
      assert.equal(error.code, "PROG_LOAD");
      assert.equal(error.errno, "EACCES");
      assert.match(
        error.message,
        /^Cannot load program "carom_bad": the verifier rejects it \(EACCES\)\n/,
      );
      assert.match(error.message, /programs\.kernel\.test\.ts:\d+:\d+: .*this very line/);
      assert.match(error.message, /invalid access to packet/);
      assert.match(error.log ?? "", /processed \d+ insns/);
      assert.equal(error.explanation?.source?.file, import.meta.filename);
      return true;
    },
  );
});

for (const { name, image, message } of [
  {
    name: "a helper that is not there",
    image: imageOf([callHelper(9999), EXIT]),
    message: /invalid func unknown#9999/,
  },
  {
    name: "a missing end",
    image: imageOf([moveImm(0, 1)]),
    message: /last insn is not an exit or jmp/,
  },
  {
    name: "BTF records without BTF in the kernel's eyes",
    image: imageOf([moveImm(0, 2), EXIT], { btf: new Uint8Array(24) }),
    message: /^Cannot load the BTF of "carom_test": EINVAL, /,
  },
]) {
  test(`loadProgram() explains ${name}`, { skip }, () => {
    assert.throws(
      () => loadProgram(image, noMaps),
      fault(image.btf.length > 0 ? "BTF_LOAD" : "PROG_LOAD", message),
    );
  });
}

test("loadProgram() leaves no file descriptor behind", { skip }, () => {
  const good = compile(xdp("carom_good", (p) => p.return(2)));
  loadProgram(good, noMaps).close();
  const before = openDescriptors();
  loadProgram(good, noMaps).close();
  assert.throws(() => loadProgram(bad(), noMaps));
  assert.throws(() => loadProgram({ ...good, btf: new Uint8Array(24) }, noMaps));
  assert.equal(openDescriptors(), before);
});
