import assert from "node:assert/strict";
import { test } from "node:test";
import { ProgramType } from "../bpf/image.ts";
import type { Instruction } from "../bpf/isa.ts";
import { Alu, Class, Mode, SizeBits, Source } from "../bpf/isa.ts";
import {
  callHelper,
  EXIT,
  fault,
  imageOf,
  makeVeth,
  moveImm,
  skip,
  verdict,
} from "./kernel-fixture.ts";
import type { BpfProgram } from "./programs.ts";
import { loadProgram } from "./programs.ts";
import { runSyscallProgram, TestRun } from "./test-run.ts";

const load = (
  instructions: readonly Instruction[],
  type: ProgramType = ProgramType.BPF_PROG_TYPE_XDP,
): BpfProgram => loadProgram(imageOf(instructions, { type }), () => assert.fail("no map in it"));

/** r0 = the 32-bit field of the context at `offset` */
const loadContext = (offset: number): Instruction => ({
  code: Class.LDX | Mode.MEM | SizeBits[4],
  dst: 0,
  src: 1,
  offset,
  imm: 0,
});

const PACKET = Uint8Array.from({ length: 60 }, (_, index) => index);

test("TestRun.run() gives verdict and packet, run after run", { skip }, () => {
  using program = loadProgram(verdict(3), () => 0);
  const run = new TestRun(program.fd, { maxPacket: 128 });
  for (const length of [14, 60, 128]) {
    const packet = Uint8Array.from({ length }, (_, index) => index ^ length);
    const result = run.run(packet);
    assert.equal(result.verdict, 3);
    assert.deepEqual(result.packet.slice(), packet);
  }
});

test("TestRun.run() gives the packet as the program left it", { skip }, () => {
  const XDP_ADJUST_HEAD = 44;
  using program = load([moveImm(2, -20), callHelper(XDP_ADJUST_HEAD), moveImm(0, 3), EXIT]);
  const { packet } = new TestRun(program.fd, { maxPacket: 60 }).run(PACKET);
  assert.equal(packet.length, 80);
  assert.deepEqual(packet.slice(20), PACKET);
});

test("TestRun.run() repeats", { skip }, () => {
  const XDP_ADJUST_HEAD = 44;
  using program = load([moveImm(2, -1), callHelper(XDP_ADJUST_HEAD), moveImm(0, 3), EXIT]);
  const run = new TestRun(program.fd, { maxPacket: 60 });
  assert.equal(run.run(PACKET, { repeat: 7 }).packet.length, 67);
  assert.equal(run.run(PACKET).packet.length, 61, "starts anew");
});

test("TestRun.run() lets an XDP packet come from a device", { skip }, () => {
  const ifindex = makeVeth("car0");
  using ingress = load([loadContext(12), EXIT]);
  using queue = load([loadContext(16), EXIT]);
  const run = new TestRun(ingress.fd, { maxPacket: 60 });
  assert.equal(run.run(PACKET, { ifindex }).verdict, ifindex);
  assert.equal(run.run(PACKET.subarray(0, 20), { ifindex: 1 }).verdict, 1, "another length");
  assert.notEqual(run.run(PACKET).verdict, ifindex, "forgotten in the next run");
  const queueRun = new TestRun(queue.fd, { maxPacket: 60 });
  assert.equal(queueRun.run(PACKET, { ifindex, rxQueue: 0 }).verdict, 0);
  assert.throws(
    () => run.run(PACKET, { ifindex: 9999 }),
    fault("TEST_RUN", /no device 9999 with a receive queue 0/),
  );
  assert.throws(
    () => queueRun.run(PACKET, { ifindex, rxQueue: 999 }),
    fault("TEST_RUN", /receive queue 999/),
  );
});

test("TestRun.run() gives TC programs a mark and a device", { skip }, () => {
  const type = ProgramType.BPF_PROG_TYPE_SCHED_CLS;
  using mark = load([loadContext(8), EXIT], type);
  using device = load([loadContext(40), EXIT], type);
  const packet = PACKET.slice();
  assert.equal(new TestRun(mark.fd, { maxPacket: 60, type }).run(packet, { mark: 77 }).verdict, 77);
  assert.equal(
    new TestRun(device.fd, { maxPacket: 60, type }).run(packet, { ifindex: 1 }).verdict,
    1,
  );
});

test("TestRun.run() explains packets the kernel does not run", { skip }, () => {
  using program = loadProgram(verdict(3), () => 0);
  const run = new TestRun(program.fd, { maxPacket: 60 });
  assert.throws(
    () => run.run(new Uint8Array(13)),
    fault("TEST_RUN", /of 13 bytes: EINVAL, a packet has 14/),
  );
  assert.throws(() => run.run(new Uint8Array(61)), /of 61 bytes: maxPacket is 60/);
});

test("runSyscallProgram() gives the result, and the context as it was left", { skip }, () => {
  // r0 = *(u64 *)ctx; *(u64 *)(ctx + 8) = r0 + 1
  const word = Mode.MEM | SizeBits[8];
  using program = load(
    [
      { code: Class.LDX | word, dst: 0, src: 1, offset: 0, imm: 0 },
      { code: Class.ALU64 | Alu.mov | Source.REG, dst: 2, src: 0, offset: 0, imm: 0 },
      { code: Class.ALU64 | Alu.add, dst: 2, src: 0, offset: 0, imm: 1 },
      { code: Class.STX | word, dst: 1, src: 2, offset: 8, imm: 0 },
      EXIT,
    ],
    ProgramType.BPF_PROG_TYPE_SYSCALL,
  );
  const context = BigUint64Array.of(41n, 0n);
  assert.equal(runSyscallProgram(program.fd, new Uint8Array(context.buffer)), 41);
  assert.deepEqual(context, BigUint64Array.of(41n, 42n));
});
