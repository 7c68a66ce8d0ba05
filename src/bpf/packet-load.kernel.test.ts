/** What `loadPacket` gives, in both types of programs that may use it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { skip } from "../kernel/kernel-fixture.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import { disassemble } from "./disassemble.ts";
import { Helper } from "./helpers.ts";
import { ProgramType } from "./image.ts";
import { loadPacket, SKF_LL_OFF, SKF_NET_OFF } from "./packet-load.ts";
import { compile } from "./program.ts";
import { schedCls, type SkbBuilder, socketFilter } from "./skb.ts";
import type { Scalar } from "./value.ts";

const ETHERNET = 14;
/** 0xf0f1f2f3 and on, the type of which nobody knows. */
const PACKET = Uint8Array.from({ length: 64 }, (_, index) => 0xf0 + index);
const KINDS = [
  { build: schedCls, type: ProgramType.BPF_PROG_TYPE_SCHED_CLS, start: 0 },
  { build: socketFilter, type: ProgramType.BPF_PROG_TYPE_SOCKET_FILTER, start: ETHERNET },
] as const;

const rows: readonly {
  readonly name: string;
  readonly write: (p: SkbBuilder, start: number) => Scalar;
  readonly wanted: number;
}[] = [
  { name: "a byte", write: (p, start) => loadPacket(p, 1, 20 - start), wanted: 0x04 },
  {
    name: "two bytes in host order",
    write: (p, start) => loadPacket(p, 2, 30 - start),
    wanted: 0x0e0f,
  },
  {
    name: "four bytes with the highest bit set",
    write: (p) => loadPacket(p, 4, SKF_LL_OFF + 1),
    wanted: 0xf1f2_f3f4,
  },
  {
    name: "from the network header on",
    write: (p) => loadPacket(p, 2, SKF_NET_OFF + 2),
    wanted: 0x0001,
  },
  {
    name: "at an index, and what was loaded before",
    write(p, start) {
      const index = loadPacket(p, 1, 22 - start);
      const far = loadPacket(p, 2, 14 - start, index);
      return far.mul(1000).add(index);
    },
    wanted: 0x0405 * 1000 + 6,
  },
  {
    name: "with the context, a call and a value that live on",
    write(p, start) {
      const { context } = p;
      const length = context.length.read();
      const before = p.call(Helper.getPrandomU32).u32();
      const sum = loadPacket(p, 1, 20 - start).add(loadPacket(p, 1, 21 - start));
      p.call(Helper.jiffies64);
      const more = sum.add(loadPacket(p, 1, 22 - start));
      return more.add(length).sub(context.length).add(before).sub(before);
    },
    wanted: 4 + 5 + 6,
  },
  {
    name: "as often as one likes",
    write(p, start) {
      const sum = p.variable(0);
      p.repeat(30, (index) => sum.set(sum.add(loadPacket(p, 1, 17 - start, index))));
      return sum;
    },
    wanted: Array.from({ length: 30 }, (_, index) => PACKET[17 + index] ?? 0).reduce(
      (sum, byte) => sum + byte,
      0,
    ),
  },
  {
    name: "0 and the end behind the packet",
    write(p) {
      loadPacket(p, 4, PACKET.length - 3);
      return 77;
    },
    wanted: 0,
  },
];

for (const { name, write, wanted } of rows) {
  for (const { build, type, start } of KINDS) {
    test(`loadPacket() gives ${name}, in ${build.name}()`, { skip }, () => {
      const program = build("load", (p) => p.return(write(p, start)));
      for (const registersMax of [10, 7, 6]) {
        const image = compile(program, { registersMax });
        using loaded = loadProgram(image, () => assert.fail("no map in it"));
        const { verdict } = new TestRun(loaded.fd, { maxPacket: PACKET.length, type }).run(PACKET);
        assert.equal(verdict, wanted, disassemble(image));
      }
    });
  }
}
