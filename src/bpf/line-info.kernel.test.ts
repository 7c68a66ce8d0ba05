import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  BPF_CAPABILITIES,
  effectiveCapabilities,
  missingCapabilities,
} from "../kernel/capabilities.ts";
import { KernelError } from "../kernel/errors.ts";
import { createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { bytes, struct, u16, u32, u8 } from "./layout.ts";
import { globalData } from "./maps.ts";
import { compile } from "./program.ts";
import { xdp, XDP_DROP, XDP_PASS } from "./xdp.ts";

const missing = missingCapabilities(effectiveCapabilities(), BPF_CAPABILITIES);
const skip = missing.length > 0 && `missing ${missing.join(", ")}`;
const noMaps = (): number => assert.fail("the program has no map");

test("the verifier names the author's line and quotes it", { skip }, () => {
  const program = xdp("outside", (p) => {
    const { data } = p.packet();
    const beyond = data.plus(5).place(2).read();
    p.return(beyond);
  });
  assert.throws(
    () => loadProgram(compile(program), noMaps),
    (error: unknown) => {
      assert.ok(error instanceof KernelError);
      const source = error.explanation?.source;
      assert.equal(source?.file, fileURLToPath(import.meta.url));
      assert.match(source.text, /^const beyond/);
      // The kernel's own words, from line info and BTF; with the place since Linux 6.10.
      const quoted = /; const beyond = data\.plus\(5\)\.place\(2\)\.read\(\);(?: @ (.+))?/;
      const [said, place] = quoted.exec(error.log ?? "") ?? [];
      assert.ok(said !== undefined, error.log ?? "no log");
      if (place !== undefined) assert.equal(place, `line-info.kernel.test.ts:${source.line}`);
      assert.match(error.message, /line-info\.kernel\.test\.ts:\d+:\d+: const beyond/);
      return true;
    },
  );
});

test("bytes on the stack are copied in steps the verifier takes", { skip }, () => {
  // mac starts at an odd place, where four bytes at once are refused on the stack.
  const Odd = struct("odd", { first: u8, mac: bytes(6), last: u8, half: u16 }, { packed: true });
  const program = xdp("aligned", (p) => {
    const packet = p.packet();
    packet.require(16, XDP_DROP);
    const on = p.zeroed(Odd).as(Odd);
    on.mac.set(packet.data.plus(1).as(Odd).mac);
    on.last.set(0x77);
    packet.data.plus(8).as(Odd).mac.set(on.mac);
    p.return(on.last);
  });
  using loaded = loadProgram(compile(program), noMaps);
  const packet = Uint8Array.from({ length: 16 }, (_, index) => index);
  const result = new TestRun(loaded.fd, { maxPacket: 16 }).run(packet);
  assert.equal(result.verdict, 0x77);
  const wanted = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 4, 5, 6, 7, 15);
  assert.deepEqual(Uint8Array.from(result.packet), wanted);
});

test("a map's value is read and written at an offset, without a helper", { skip }, () => {
  const Entry = struct("entry", { count: u32, total: u32 });
  const spec = globalData("values", 4096);
  using map = createMap(spec);
  const program = xdp("direct", (p) => {
    const packet = p.packet();
    packet.require(14, XDP_DROP);
    const index = packet.data.place(1).and(0x7f);
    const entry = p.mapValue(spec, 2048).plus(index.mul(Entry.size)).as(Entry);
    entry.count.increase(1);
    entry.total.atomicAdd(packet.length());
    p.return(XDP_PASS);
  });
  using loaded = loadProgram(compile(program), () => map.fd);
  const run = new TestRun(loaded.fd, { maxPacket: 60 });
  const packet = new Uint8Array(60);
  packet[0] = 3;
  assert.equal(run.run(packet, { repeat: 5 }).verdict, XDP_PASS);
  const value = map.lookup(new Uint8Array(4));
  assert.ok(value !== undefined);
  assert.deepEqual(Entry.read(value, 2048 + 3 * Entry.size), { count: 5, total: 300 });
});
