import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { MapType } from "../bpf/image.ts";
import { Class, Mode, Pseudo, SizeBits } from "../bpf/isa.ts";
import { struct, u64 } from "../bpf/layout.ts";
import { KernelError } from "./errors.ts";
import {
  deleteDevice,
  EXIT,
  fault,
  imageOf,
  key,
  makeVeth,
  mapSpec,
  skip,
  verdict,
} from "./kernel-fixture.ts";
import { KernelProcess } from "./kernel-process.ts";
import { call } from "./libc.ts";
import { openLink } from "./links.ts";
import { createMap } from "./maps.ts";
import { BPFFS, makePinDirectory, openPin, pin } from "./pins.ts";
import { programInfo } from "./programs.ts";
import { TestRun } from "./test-run.ts";
import { attachedXdp } from "./xdp-attached.ts";

const options = { skip, timeout: 30_000 };
const PINS = `${BPFFS}/carom_process`;
if (skip === false) makePinDirectory(PINS);

const programIdAt = (path: string): number => {
  const fd = openPin(path);
  try {
    return programInfo(fd).id;
  } finally {
    call("close", fd);
  }
};

test(
  "loadProgram() of a kernel process finds maps by their pins and leaves a pin",
  options,
  async () => {
    const value = struct("arena", { word: u64 });
    const spec = mapSpec({ name: "arena", type: MapType.BPF_MAP_TYPE_ARRAY, maxEntries: 1, value });
    using map = createMap(spec);
    pin(map.fd, `${PINS}/arena`);
    map.update(key(0), value.encode({ word: 99n }));
    const image = imageOf(
      [
        {
          code: Class.LD | Mode.IMM | SizeBits[8],
          dst: 1,
          src: Pseudo.MAP_VALUE,
          offset: 0,
          imm: 0,
        },
        { code: 0, dst: 0, src: 0, offset: 0, imm: 0 },
        { code: Class.LDX | Mode.MEM | SizeBits[8], dst: 0, src: 1, offset: 0, imm: 0 },
        EXIT,
      ],
      { maps: [{ instruction: 0, map: spec }] },
    );
    const kernel = await KernelProcess.start();
    const path = `${PINS}/reader`;
    const loaded = await kernel.loadProgram({ image, maps: { arena: `${PINS}/arena` }, pin: path });
    const fd = openPin(path);
    const { id, verifiedInstructions, xlatedBytes, jitedBytes } = programInfo(fd);
    assert.deepEqual(loaded, { id, verifiedInstructions, xlatedBytes, jitedBytes });
    assert.equal(new TestRun(fd, { maxPacket: 64 }).run(new Uint8Array(64)).verdict, 99);
    call("close", fd);

    const again = await kernel.loadProgram({ image, maps: { arena: `${PINS}/arena` }, pin: path });
    assert.notEqual(again.id, id);
    assert.equal(programIdAt(path), again.id, "takes the place of the first");

    await assert.rejects(
      kernel.loadProgram({ image, maps: {}, pin: path }),
      /no pin given for its map "arena"/,
    );
    await assert.rejects(
      kernel.loadProgram({ image, maps: { arena: `${PINS}/none` }, pin: path }),
      fault("PIN_MISSING", /nothing is pinned there/),
    );
    const larger = { ...image, maps: [{ instruction: 0, map: { ...spec, maxEntries: 2 } }] };
    await assert.rejects(
      kernel.loadProgram({ image: larger, maps: { arena: `${PINS}/arena` }, pin: path }),
      fault("MAP_MISMATCH", /entries is 1, 2 needed/),
    );
    assert.equal(programIdAt(path), again.id, "failures leave the pin alone");
    await kernel.close();
  },
);

test("A kernel process attaches, replaces and detaches by pins", options, async () => {
  const ifindex = makeVeth("car0");
  const kernel = await KernelProcess.start();
  try {
    const [a, b, linkPin] = [`${PINS}/a`, `${PINS}/b`, `${PINS}/link`];
    await kernel.loadProgram({ image: verdict(2, "carom_a"), maps: {}, pin: a });
    await kernel.loadProgram({ image: verdict(1, "carom_b"), maps: {}, pin: b });
    await kernel.attachXdp({ ifindex, programPin: a, linkPin, mode: "native" });
    assert.equal(attachedXdp(ifindex)?.programId, programIdAt(a));
    await assert.rejects(
      kernel.attachXdp({ ifindex, programPin: b, linkPin: `${PINS}/other`, mode: "native" }),
      fault("LINK_BUSY", /"carom_a"/),
    );
    assert.equal(existsSync(`${PINS}/other`), false);
    await kernel.replaceProgram({ linkPin, programPin: b, expectedProgramPin: a });
    assert.equal(attachedXdp(ifindex)?.programId, programIdAt(b));
    await assert.rejects(
      kernel.replaceProgram({ linkPin, programPin: b, expectedProgramPin: a }),
      fault("LINK_CHANGED", /not the one expected/),
    );
    await kernel.replaceProgram({ linkPin, programPin: a });
    await kernel.gracePeriod();
    await kernel.close();
    assert.equal(attachedXdp(ifindex)?.programId, programIdAt(a), "outlives the process");

    const second = await KernelProcess.start();
    await second.detach({ linkPin });
    assert.equal(attachedXdp(ifindex), null);
    assert.throws(() => openLink(linkPin), fault("PIN_MISSING", /nothing/));
    await second.close();
  } finally {
    await kernel.close();
    deleteDevice("car0");
  }
});

test("A link that cannot be pinned is not left on the device", options, async () => {
  const ifindex = makeVeth("car0");
  const kernel = await KernelProcess.start();
  try {
    const programPin = `${PINS}/unpinned`;
    await kernel.loadProgram({ image: verdict(2), maps: {}, pin: programPin });
    await assert.rejects(
      kernel.attachXdp({ ifindex, programPin, linkPin: programPin, mode: "native" }),
      fault("PIN_EXISTS", /the name is taken/),
    );
    assert.equal(attachedXdp(ifindex), null);
  } finally {
    await kernel.close();
    deleteDevice("car0");
  }
});

test("A rejection crosses with log and explanation", options, async () => {
  const kernel = await KernelProcess.start();
  const line = { instruction: 0, file: "/src/lb.ts", line: 7, column: 3, text: "p.return(x)" };
  const image = imageOf([EXIT], { name: "carom_bad", lines: [line] });
  await assert.rejects(
    kernel.loadProgram({ image, maps: {}, pin: `${PINS}/bad` }),
    (error: unknown) => {
      assert.ok(error instanceof KernelError);
      assert.equal(error.code, "PROG_LOAD");
      assert.equal(error.errno, "EACCES");
      assert.match(error.message, /\/src\/lb\.ts:7:3: p\.return\(x\)\n.*\n.*R0 !read_ok/);
      assert.match(error.log ?? "", /processed 1 insns/);
      assert.deepEqual(error.explanation?.source, line);
      return true;
    },
  );
  assert.equal(existsSync(`${PINS}/bad`), false);
  await kernel.close();
});

test("KernelProcess.start() fails when the process cannot start", options, async () => {
  const before = process.env["NODE_OPTIONS"];
  process.env["NODE_OPTIONS"] = "--no-such-option";
  try {
    await assert.rejects(
      KernelProcess.start(),
      fault("KERNEL_PROCESS", /^Cannot start the kernel process: it ended with status 9$/),
    );
  } finally {
    if (before === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = before;
  }
});

test(
  "A killed kernel process fails the calls under way; the next call has a new one",
  options,
  async () => {
    const kernel = await KernelProcess.start();
    const first = kernel.pid;
    assert.ok(first);
    const calls = [kernel.gracePeriod(), kernel.gracePeriod()];
    process.kill(first, "SIGKILL");
    for (const result of await Promise.allSettled(calls)) {
      assert.equal(result.status, "rejected");
      assert.ok(
        fault(
          "KERNEL_PROCESS",
          /^Cannot wait for a grace period: the kernel process is gone, it ended with SIGKILL; it may or may not be done$/,
        )(result.reason),
      );
    }
    assert.equal(kernel.pid, null);
    await kernel.gracePeriod();
    assert.ok(kernel.pid !== null && kernel.pid !== first);
    await kernel.close();
  },
);

test("A kernel process killed while idle is replaced at the next call", options, async () => {
  const kernel = await KernelProcess.start();
  const first = kernel.pid;
  assert.ok(first);
  process.kill(first, "SIGKILL");
  // The call may still reach the dying process: then it fails, clearly, and the next one works.
  await kernel.gracePeriod().catch((error: unknown) => {
    assert.ok(fault("KERNEL_PROCESS", /is gone/)(error));
  });
  await kernel.gracePeriod();
  assert.notEqual(kernel.pid, first);
  await kernel.close();
});

test(
  "KernelProcess.close() ends the process, fails what is under way and takes no more",
  options,
  async () => {
    const kernel = await KernelProcess.start();
    const { pid } = kernel;
    const call = assert.rejects(kernel.gracePeriod(), fault("KERNEL_PROCESS", /is gone/));
    await kernel.close();
    await call;
    assert.equal(existsSync(`/proc/${pid}`), false);
    await assert.rejects(kernel.gracePeriod(), fault("KERNEL_PROCESS", /was closed/));
    await kernel.close();
  },
);

/** A parent that starts a kernel process, prints its pid and does as `then` says. */
const parent = (then: string) =>
  spawn(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { KernelProcess } from ${JSON.stringify(new URL("kernel-process.ts", import.meta.url).href)};
       const kernel = await KernelProcess.start();
       console.log(kernel.pid);
       ${then}`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );

/** Resolves when the process is gone; it is not ours to wait for, so this looks now and then. */
async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("The kernel process dies with a parent that is killed", options, async () => {
  const child = parent("setInterval(() => {}, 1000);");
  const [output] = (await once(child.stdout, "data")) as [Buffer];
  const pid = Number(output.toString());
  assert.ok(existsSync(`/proc/${pid}`));
  child.kill("SIGKILL");
  await gone(pid);
});

test(
  "A kernel process that nobody closes does not keep its parent from ending",
  options,
  async () => {
    const child = parent("await kernel.gracePeriod();");
    const [output] = (await once(child.stdout, "data")) as [Buffer];
    const [status] = (await once(child, "exit")) as [number | null];
    assert.equal(status, 0);
    await gone(Number(output.toString()));
  },
);

test("The kernel process leaves SIGINT and SIGTERM to its parent", options, async () => {
  const kernel = await KernelProcess.start();
  const { pid } = kernel;
  assert.ok(pid);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.kill(pid, signal);
  await kernel.gracePeriod();
  assert.equal(kernel.pid, pid);
  await kernel.close();
});

test("gracePeriod() does not block the event loop of its caller", options, async () => {
  const kernel = await KernelProcess.start();
  let turns = 0;
  const turn = setInterval(() => {
    turns += 1;
  }, 1);
  for (let i = 0; i < 3; i++) await kernel.gracePeriod();
  clearInterval(turn);
  assert.ok(turns > 0);
  await kernel.close();
});
