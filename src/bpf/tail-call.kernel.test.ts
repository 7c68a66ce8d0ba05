import assert from "node:assert/strict";
import { test } from "node:test";
import { key, skip, verdict } from "../kernel/kernel-fixture.ts";
import { createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { progArray } from "./maps.ts";
import { compile } from "./program.ts";
import { xdp, XDP_DROP, XDP_PASS, XDP_TX } from "./xdp.ts";

test("tailCall() goes on in the program of the slot, and here when there is none", { skip }, () => {
  const programs = progArray("programs", 2);
  using slots = createMap(programs);
  const caller = xdp("caller", (p) => p.tailCall(p.contextRegister, programs, 1, XDP_DROP));
  using program = loadProgram(compile(caller), () => slots.fd);
  using pass = loadProgram(verdict(XDP_PASS), () => assert.fail("no map in it"));
  using send = loadProgram(verdict(XDP_TX), () => assert.fail("no map in it"));
  const run = new TestRun(program.fd, { maxPacket: 64 });
  const outcome = (): number => run.run(new Uint8Array(64)).verdict;

  assert.equal(outcome(), XDP_DROP, "the slot is empty");
  slots.update(key(0), key(pass.fd));
  assert.equal(outcome(), XDP_DROP, "it is another slot's");
  slots.update(key(1), key(pass.fd));
  assert.equal(outcome(), XDP_PASS);
  slots.update(key(1), key(send.fd));
  assert.equal(outcome(), XDP_TX, "filled anew");
  slots.delete(key(1));
  assert.equal(outcome(), XDP_DROP, "emptied");
});
