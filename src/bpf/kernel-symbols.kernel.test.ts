import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { skip } from "../kernel/kernel-fixture.ts";
import { type BpfProgram, loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { Helper } from "./helpers.ts";
import { compile } from "./program.ts";
import { xdp, type XdpBuilder, XDP_PASS } from "./xdp.ts";

const noMaps = (): number => assert.fail("the program has no map");
/** Kernels without CONFIG_KALLSYMS_ALL know the addresses of functions only. */
const knowsVariables = / bpf_prog_active$/m.test(readFileSync("/proc/kallsyms", "utf8"));

/** How deep in programs this CPU is: none of the kind that counts. */
const readActive = (p: XdpBuilder): void => {
  const mine = p.call(Helper.thisCpuPtr, p.kernelVariable("bpf_prog_active"));
  p.return(p.pointer(mine).place(4).read().add(XDP_PASS));
};

const load = (): BpfProgram => loadProgram(compile(xdp("active", readActive)), noMaps);

test("kernelVariable() reads a variable of the kernel, where it tells its address", {
  skip,
}, () => {
  if (!knowsVariables) {
    // It found the variable in BTF, the one that is meant.
    assert.throws(load, /failed to find the address for kernel symbol 'bpf_prog_active'/);
    return;
  }
  using program = load();
  const run = new TestRun(program.fd, { maxPacket: 64 });
  assert.equal(run.run(new Uint8Array(64)).verdict, XDP_PASS);
});

for (const { what, name, write } of [
  {
    what: "function",
    name: "bpf_not_written_yet",
    write: (p: XdpBuilder) => p.call({ name: "bpf_not_written_yet", argumentCount: 0 }),
  },
  {
    what: "variable",
    name: "no_such_variable",
    write: (p: XdpBuilder) => p.kernelVariable("no_such_variable").place(4).read(),
  },
]) {
  test(`loadProgram() names a ${what} that the kernel does not have`, { skip }, () => {
    const program = xdp("missing", (p) => p.return(write(p)));
    assert.throws(() => loadProgram(compile(program), noMaps), {
      code: "PROG_LOAD",
      message: `Cannot load program "missing": this kernel has no ${what} "${name}" for programs`,
    });
  });
}
