import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { BtfBuilder, Linkage } from "../bpf/btf.ts";
import type { ProgramImage } from "../bpf/image.ts";
import { MapFlag, MapType } from "../bpf/image.ts";
import type { Instruction } from "../bpf/isa.ts";
import { Class, Mode, Pseudo, SizeBits } from "../bpf/isa.ts";
import { waitGracePeriod } from "./grace-period.ts";
import { callHelper, EXIT, imageOf, mapSpec, moveImm, skip } from "./kernel-fixture.ts";
import { createMap } from "./maps.ts";
import { BPFFS, pin } from "./pins.ts";
import { loadProgram } from "./programs.ts";

const RUNNING = 1;
const DONE = 2;
const STATE = mapSpec({
  name: "state",
  type: MapType.BPF_MAP_TYPE_ARRAY,
  maxEntries: 1,
  flags: MapFlag.BPF_F_MMAPABLE,
});

const BPF_KTIME_GET_NS = 5;
const BPF_LOOP = 181;
// BPF_MAX_LOOPS (kernel/bpf/bpf_iter.c): with a clock read in each, long enough to be caught at it.
const LOOPS = 1 << 23;

const wide = (dst: number, src: number, imm: number): Instruction[] => [
  { code: Class.LD | Mode.IMM | SizeBits[8], dst, src, offset: 0, imm },
  { code: 0, dst: 0, src: 0, offset: 0, imm: 0 },
];
const store = (state: number): Instruction => ({
  code: Class.ST | Mode.MEM | SizeBits[4],
  dst: 6,
  src: 0,
  offset: 0,
  imm: state,
});

/** A program that is in no hurry: state = RUNNING; loop; state = DONE. */
function slowProgram(): ProgramImage {
  const callback = 12;
  const btf = new BtfBuilder();
  const int = btf.int("int", 4, true);
  const pointer = btf.pointer(int);
  const main = btf.functionProto(int, [{ name: "ctx", type: pointer }]);
  const each = btf.functionProto(int, [
    { name: "index", type: int },
    { name: "ctx", type: pointer },
  ]);
  const funcInfo = Uint32Array.of(
    0,
    btf.func("slow", main, Linkage.STATIC),
    callback,
    btf.func("each", each, Linkage.STATIC),
  );
  return imageOf(
    [
      ...wide(6, Pseudo.MAP_VALUE, 0),
      store(RUNNING),
      moveImm(1, LOOPS),
      ...wide(2, Pseudo.FUNC, callback - 5),
      moveImm(3, 0),
      moveImm(4, 0),
      callHelper(BPF_LOOP),
      store(DONE),
      moveImm(0, 2),
      EXIT,
      callHelper(BPF_KTIME_GET_NS),
      moveImm(0, 0),
      EXIT,
    ],
    {
      btf: btf.build(),
      funcInfo: new Uint8Array(funcInfo.buffer),
      maps: [{ instruction: 0, map: STATE }],
    },
  );
}

const ATTEMPTS_MAX = 10;

const moduleUrl = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);

test("waitGracePeriod() returns when the runs under way have ended", {
  skip,
  timeout: 60_000,
}, async () => {
  using map = createMap(STATE);
  const mapped = map.mmap();
  const state = new Int32Array(mapped.bytes.buffer, 0, 1);
  using program = loadProgram(slowProgram(), () => map.fd);
  const path = `${BPFFS}/carom_slow`;
  pin(program.fd, path);

  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    Atomics.store(state, 0, 0);
    const runner = spawn(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `import { openPin } from ${moduleUrl("pins.ts")};
         import { TestRun } from ${moduleUrl("test-run.ts")};
         new TestRun(openPin(${JSON.stringify(path)}), { maxPacket: 64 }).run(new Uint8Array(64));`,
      ],
      { stdio: "inherit" },
    );
    const exited = once(runner, "exit");
    while (Atomics.load(state, 0) === 0 && runner.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    // On a busy machine the run may have ended before this process got its turn: that shows nothing.
    const wasUnderWay = Atomics.load(state, 0) === RUNNING;
    waitGracePeriod();
    if (wasUnderWay) assert.equal(Atomics.load(state, 0), DONE);
    assert.deepEqual(await exited, [0, null]);
    if (wasUnderWay) return;
  }
  assert.fail(`no run was met under way in ${ATTEMPTS_MAX} attempts`);
});

test("waitGracePeriod() returns when nothing runs, every time", { skip, timeout: 60_000 }, () => {
  for (let i = 0; i < 5; i++) waitGracePeriod();
});
