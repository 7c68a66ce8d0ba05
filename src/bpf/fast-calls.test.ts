import assert from "node:assert/strict";
import { test } from "node:test";
import { disassemble } from "./disassemble.ts";
import { Helper } from "./helpers.ts";
import { compile } from "./program.ts";
import { NEWEST_TARGET, OLDEST_TARGET } from "./target.ts";
import { Pointer } from "./view.ts";
import { xdp } from "./xdp.ts";

/** Three values live across a fast call, beside so many bytes of the author's stack. */
const crowded = (stackBytes: number) =>
  xdp("crowded", (p) => {
    const memory = new Pointer(p, p.contextRegister.register);
    p.stack(stackBytes).place(8).set(0);
    const values = [0, 8, 16].map((at) => memory.plus(at).place(8).read());
    const cpu = p.call(Helper.getSmpProcessorId);
    p.return(values.reduce((sum, value) => sum.mul(3).add(value), cpu));
  });

test("compile() keeps registers across fast calls where the stack has room for them", () => {
  const text = disassemble(compile(crowded(512 - 24), { target: NEWEST_TARGET }));
  assert.match(text, /\(r10 -512\) = r\d\n.*call bpf_get_smp_processor_id/);
});

test("compile() makes plain calls of fast ones where the stack is full", () => {
  for (const target of [NEWEST_TARGET, OLDEST_TARGET]) {
    const text = disassemble(compile(crowded(512), { target }));
    assert.doesNotMatch(text, /\(r10 -\d+\) = r\d/);
  }
});

test("compile() keeps nothing across fast calls for a target without them", () => {
  for (const target of [OLDEST_TARGET, { ...NEWEST_TARGET, fastCalls: false }]) {
    const text = disassemble(compile(crowded(8), { target }));
    assert.doesNotMatch(text, /\(r10 -\d+\) = r\d/);
  }
});
