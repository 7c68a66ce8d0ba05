/** Fast calls in the kernel: what they keep is kept, and the instructions that say so are gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { probeTarget } from "../kernel/features.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { xlatedInstructions } from "../kernel/xlated.ts";
import { disassemble } from "./disassemble.ts";
import { Helper } from "./helpers.ts";
import type { ProgramImage } from "./image.ts";
import { Kfunc } from "./kfuncs.ts";
import { compile, type Program } from "./program.ts";
import type { Value } from "./value.ts";
import { xdp, type XdpBuilder } from "./xdp.ts";

const PACKET = Uint8Array.from({ length: 64 }, (_, index) => index);
/** More words than the four registers that every call keeps. */
const WORDS = [0, 8, 16, 24, 32, 40, 48];
const WANTED = WORDS.reduce(
  (sum, at) => sum * 3n + new DataView(PACKET.buffer).getBigUint64(at, true),
  0n,
);

const rows: readonly { readonly name: string; readonly call: (p: XdpBuilder) => Value }[] = [
  { name: "bpf_get_smp_processor_id", call: (p) => p.call(Helper.getSmpProcessorId) },
  {
    name: "bpf_cast_to_kern_ctx",
    call: (p) => wordAt(p, p.call(Kfunc.castToKernelContext, p.contextRegister)),
  },
  {
    name: "bpf_rdonly_cast",
    call: (p) => wordAt(p, p.call(Kfunc.readOnlyCast, p.contextRegister, 0)),
  },
];

const wordAt = (p: XdpBuilder, address: Value): Value => p.pointer(address).place(8).read();

for (const { name, call } of rows) {
  test(`${name} keeps registers by instructions that the kernel takes out`, { skip }, (t) => {
    const target = probeTarget();
    if (!target.fastCalls) return t.skip("this kernel has no bpf_fastcall");
    const program: Program = xdp("fast", (p) => {
      const packet = p.packet();
      packet.require(PACKET.length, 0);
      const values = WORDS.map((at) => packet.data.plus(at).place(8).read());
      const nothing = call(p).and(0);
      p.return(values.reduce((sum, value) => sum.mul(3).add(value), nothing));
    });
    const fast = compile(program, { target });
    const kept = run(fast);
    const plain = run(compile(program, { target: { ...target, fastCalls: false } }));
    assert.ok(stackAccesses(fast) >= 6, disassemble(fast));
    assert.equal(stackAccesses(kept), 0, disassemble(kept));
    t.diagnostic(`${lengthOf(kept)} instructions run, ${lengthOf(plain)} without`);
    assert.ok(lengthOf(kept) < lengthOf(plain));
  });
}

type Code = Pick<ProgramImage, "instructions">;

/** What the kernel made of it, which gives what is wanted. */
function run(image: ProgramImage): Code {
  using loaded = loadProgram(image, () => assert.fail("no map in it"));
  const { verdict } = new TestRun(loaded.fd, { maxPacket: PACKET.length }).run(PACKET);
  assert.equal(verdict, Number(BigInt.asUintN(32, WANTED)), disassemble(image));
  return { instructions: xlatedInstructions(loaded.fd) };
}

const lengthOf = ({ instructions }: Code): number => instructions.length / 8;
const stackAccesses = (code: Code): number =>
  disassemble(code).match(/\(r10 [-+]\d+\)/g)?.length ?? 0;
