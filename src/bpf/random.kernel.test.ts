/**
 * Random programs: generated once as a tree, then written with the builder and evaluated with
 * BigInts, and compared on random packets. What differs is a bug of the builder, its passes or the
 * evaluation. `BPF_RANDOM_PROGRAMS=10000` for a long run, `BPF_RANDOM_SEED` for the one printed.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { probeTarget } from "../kernel/features.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { xlatedInstructions } from "../kernel/xlated.ts";
import { allocate } from "./allocate.ts";
import { disassemble } from "./disassemble.ts";
import { Helper } from "./helpers.ts";
import {
  CallKind,
  Class,
  decodeInstructions,
  FRAME,
  type Instruction,
  Jump,
  Mode,
  SizeBits,
} from "./isa.ts";
import { ProgramType } from "./image.ts";
import { lower } from "./lower.ts";
import { optimise } from "./optimise.ts";
import { type CompileOptions, compile } from "./program.ts";
import { Evaluator } from "./random-evaluator-fixture.ts";
import {
  Generator,
  INPUT_BYTES,
  PACKET_BYTES,
  Random,
  TABLE,
  TABLE_MAP,
  VERDICTS,
} from "./random-tree-fixture.ts";
import { programOf } from "./random-writer-fixture.ts";
import { schedCls } from "./skb.ts";
import { OLDEST_TARGET } from "./target.ts";
import { xdp } from "./xdp.ts";

const COUNT = Number(process.env["BPF_RANDOM_PROGRAMS"] ?? 400);
const SEED = Number(process.env["BPF_RANDOM_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const PACKETS = 12;

function packetOf(random: Random): Uint8Array {
  const packet = new Uint8Array(PACKET_BYTES);
  const view = new DataView(packet.buffer);
  for (let at = 0; at < INPUT_BYTES; at += 8) view.setBigUint64(at, random.bits(64), true);
  return packet;
}

/** Stack accesses of 8 bytes, and how many of them keep registers across fast calls. */
function stackAccesses(bytes: Uint8Array): { readonly all: number; readonly kept: number } {
  const instructions = decodeInstructions(bytes);
  let [all, kept] = [0, 0];
  instructions.forEach(({ code, dst, src, imm }, index) => {
    if ((code === STORE && dst === FRAME) || (code === LOAD && src === FRAME)) all += 1;
    const isFast = code === CALL && src === CallKind.HELPER && imm === Helper.getSmpProcessorId.id;
    if (isFast) kept += 2 * pairsAround(instructions, index);
  });
  return { all, kept };
}

/** Pairs further out lie higher; what else comes may be another call's. */
function pairsAround(instructions: readonly Instruction[], call: number): number {
  const innermost = instructions[call - 1]?.offset ?? 0;
  for (let pairs = 0; ; pairs += 1) {
    const [before, after] = [instructions[call - 1 - pairs], instructions[call + 1 + pairs]];
    const place = innermost + pairs * 8;
    if (before?.code !== STORE || before.dst !== FRAME || before.offset !== place) return pairs;
    if (after?.code !== LOAD || after.src !== FRAME || after.offset !== place) return pairs;
  }
}
const isPacketLoad = ({ code }: Instruction): boolean =>
  (code & 0x07) === Class.LD && ((code & 0xe0) === Mode.ABS || (code & 0xe0) === Mode.IND);
const STORE = Class.STX | Mode.MEM | SizeBits[8];
const LOAD = Class.LDX | Mode.MEM | SizeBits[8];
const CALL = Class.JMP | Jump.call;

const hex = (packet: Uint8Array): string =>
  Buffer.from(packet.subarray(INPUT_BYTES))
    .toString("hex")
    .replaceAll(/(.{16})/g, "$1 ");

test("random programs do in the kernel what BigInts say", { skip }, (t) => {
  t.diagnostic(`BPF_RANDOM_SEED=${SEED} BPF_RANDOM_PROGRAMS=${COUNT}`);
  const table = createMap(TABLE_MAP);
  after(() => table.close());
  TABLE.forEach((value, index) =>
    table.update(
      new Uint8Array(Uint32Array.of(index).buffer),
      new Uint8Array(BigUint64Array.of(value).buffer),
    ),
  );
  const probed = probeTarget();
  const tally = {
    spilled: 0,
    spilledPrograms: 0,
    forced: 0,
    tooMany: 0,
    kept: 0,
    packetLoads: 0,
    runs: 0,
    left: 0,
  };
  for (let number = 0; number < COUNT; number += 1) {
    const random = new Random(SEED + number * 7919);
    const target = number % 3 === 0 ? OLDEST_TARGET : probed;
    const tree = new Generator(random, target.cpuV4).tree();
    const type =
      number % 5 === 0 ? ProgramType.BPF_PROG_TYPE_SCHED_CLS : ProgramType.BPF_PROG_TYPE_XDP;
    const program = programOf(tree, type === ProgramType.BPF_PROG_TYPE_XDP ? xdp : schedCls);
    const forced = number % 2 === 1;
    const options: CompileOptions = {
      target,
      registersMax: forced ? random.of([6, 7]) : 10,
      optimise: number % 4 < 2,
    };
    const where = `program ${number} of BPF_RANDOM_SEED=${SEED}, ${JSON.stringify(options)}`;
    let image;
    try {
      image = compile(program, options);
    } catch (error) {
      // Everything that crosses a call has a slot of its own, and there are 64.
      if (!(error instanceof RangeError) || !error.message.includes("of stack are needed"))
        throw error;
      tally.tooMany += 1;
      continue;
    }
    assert.deepEqual(compile(program, options).instructions, image.instructions, where);
    if (forced) {
      const { code, registerCount } = program.function;
      const optimised = optimise(lower(code, registerCount, target));
      const { spilled } = allocate({ ...program.function, ...optimised }, options);
      tally.forced += 1;
      tally.spilled += spilled;
      if (spilled > 0) tally.spilledPrograms += 1;
    }
    using loaded = loadProgram(image, () => table.fd);
    if (decodeInstructions(image.instructions).some(isPacketLoad)) tally.packetLoads += 1;
    const emitted = stackAccesses(image.instructions);
    if (target.fastCalls && emitted.kept > 0) {
      tally.kept += 1;
      const left = stackAccesses(xlatedInstructions(loaded.fd)).all;
      assert.ok(left <= emitted.all - emitted.kept, `${where}\n${disassemble(image)}`);
    }
    const run = new TestRun(loaded.fd, { maxPacket: PACKET_BYTES, type });
    for (let at = 0; at < PACKETS; at += 1) {
      const packet = packetOf(random);
      const wanted = packet.slice();
      const evaluator = new Evaluator(tree, wanted);
      const first = evaluator.run(tree.body);
      let exit: number | null = null;
      for (let next = first; typeof next === "number"; ) {
        exit = next;
        next = evaluator.run(tree.exits[exit - 2] ?? []);
      }
      const result = run.run(packet);
      tally.runs += 1;
      if (exit !== null) tally.left += 1;
      const verdict = exit === null ? 1 : (VERDICTS[exit] as number);
      if (result.verdict !== verdict || hex(result.packet) !== hex(wanted)) {
        assert.fail(
          `${where}\nkernel ${result.verdict} ${hex(result.packet)}\nwanted ${verdict} ${hex(wanted)}\n${disassemble(image)}`,
        );
      }
    }
  }
  t.diagnostic(JSON.stringify(tally));
  assert.ok(tally.spilledPrograms > tally.forced / 2, "fewer registers force spills");
  assert.ok(!probed.fastCalls || tally.kept > COUNT / 10, "fast calls keep registers");
  assert.ok(tally.packetLoads > COUNT / 10, "programs over socket buffers load from them");
  assert.ok(tally.tooMany < COUNT / 20, "nearly every program fits the stack");
  assert.ok(
    tally.left > tally.runs / 20 && tally.left < tally.runs,
    "exits are taken, and not always",
  );
});
