import assert from "node:assert/strict";
import { test } from "node:test";
import type { SourceLine } from "./image.ts";
import { explainVerifierLog, formatExplanation } from "./verifier-log.ts";

const LINES: readonly SourceLine[] = [
  { instruction: 0, file: "/src/lb.ts", line: 10, column: 3, text: "  const p = packet();" },
  { instruction: 1, file: "/src/lb.ts", line: 11, column: 5, text: "  p.load(12);" },
  { instruction: 4, file: "/src/lb.ts", line: 12, column: 7, text: "  p.return(1);" },
];

const PROCESSED =
  "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0";

// Logs of Linux 6.18, some shortened.
const rows = [
  {
    name: "an access outside of the packet",
    log: `0: R1=ctx() R10=fp0
; const p = packet(); @ lb.ts:10
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
; p.load(12); @ lb.ts:11
1: (71) r0 = *(u8 *)(r1 +12)
invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)
R1 offset is outside of the packet
${PROCESSED}
`,
    text: `  /src/lb.ts:11:5: p.load(12);
  1: (71) r0 = *(u8 *)(r1 +12)
  invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)
  R1 offset is outside of the packet
  (5 more in the verifier's log)`,
  },
  {
    name: "a complaint before the walk, which names its instruction",
    log: `unreachable insn 2\n${PROCESSED}\n`,
    text: `  /src/lb.ts:11:5: p.load(12);
  unreachable insn 2
  (1 more in the verifier's log)`,
  },
  {
    name: "a jump that leaves the program",
    log: `jump out of range from insn 4 to 101\n${PROCESSED}\n`,
    text: `  /src/lb.ts:12:7: p.return(1);
  jump out of range from insn 4 to 101
  (1 more in the verifier's log)`,
  },
  {
    name: "an endless loop, whose complaint is followed by states",
    log: `0: R1=ctx() R10=fp0
0: (b7) r0 = 0                        ; R0=0
1: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
2: (07) r0 += 1
infinite loop detected at insn 3
cur state: R0=scalar() R10=fp0
old state: R0=scalar() R10=fp0
${PROCESSED}
`,
    text: `  /src/lb.ts:11:5: p.load(12);
  infinite loop detected at insn 3
  (7 more in the verifier's log)`,
  },
  {
    name: "a register that was never written",
    log: `0: R1=ctx() R10=fp0
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
from 0 to 4: R1=pkt(r=0) R10=fp0
4: (95) exit
R0 !read_ok
${PROCESSED}
`,
    text: `  /src/lb.ts:12:7: p.return(1);
  4: (95) exit
  R0 !read_ok
  (4 more in the verifier's log)`,
  },
  {
    name: "a complaint about the whole program",
    log: `last insn is not an exit or jmp\n${PROCESSED}\n`,
    text: `  last insn is not an exit or jmp
  (1 more in the verifier's log)`,
  },
  {
    name: "a log whose beginning was overwritten",
    log: `8: (07) r0 += 1                       ; R0=0x51e9f
3: (a5) if r0 < 0x2dc6c0 goto pc-2    ; R0=0x7a11f
BPF program is too large. Processed 1000001 insn
processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 25001 peak_states 25001 mark_read 0
`,
    text: `  /src/lb.ts:11:5: p.load(12);
  3: (a5) if r0 < 0x2dc6c0 goto pc-2    ; R0=0x7a11f
  BPF program is too large. Processed 1000001 insn
  (2 more in the verifier's log)`,
  },
  { name: "nothing at all", log: "", text: "" },
  { name: "one line of something else", log: "unknown opcode ff\n", text: "  unknown opcode ff" },
];

for (const { name, log, text } of rows) {
  test(`explainVerifierLog() explains ${name}`, () => {
    assert.equal(formatExplanation(explainVerifierLog(log, LINES)), text);
  });
}

test("explainVerifierLog() without lines still names the instruction", () => {
  const { source, instruction } = explainVerifierLog("unreachable insn 2\n", []);
  assert.equal(source, null);
  assert.equal(instruction, 2);
});
