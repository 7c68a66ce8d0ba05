/**
 * Helper calls on the straight path, counted in what the verifier made of the program: it inlines the
 * look-ups of counters, what is left as a call costs 20 ns and more.
 */
import assert from "node:assert/strict";
import { release } from "node:os";
import { test } from "node:test";
import {
  DirectorUnderTest,
  type PoolName,
  stateOf,
  VIP,
  VIP_6,
} from "../../apply/director-fixture.ts";
import { Class, decodeInstructions, type Instruction, Jump, Mode } from "../../bpf/isa.ts";
import { XDP_TX } from "../../bpf/xdp.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import { isAtLeast, parseKernelVersion } from "../../kernel/kernel-version.ts";
import { xlatedInstructions } from "../../kernel/xlated.ts";

const isCall = ({ code }: Instruction): boolean => code === (Class.JMP | Jump.call);
const isExit = ({ code }: Instruction): boolean => code === (Class.JMP | Jump.exit);
const isWide = ({ code }: Instruction): boolean => code === (Class.LD | Mode.IMM | 0x18);

/** Where control can go from the instruction at `index`. */
function successors(code: readonly Instruction[], index: number): readonly number[] {
  const instruction = code[index];
  assert.ok(instruction !== undefined, `the program is left at ${index}`);
  if (isExit(instruction)) return [];
  if (isWide(instruction)) return [index + 2];
  const kind = instruction.code & 0x07;
  const isJump = kind === Class.JMP || kind === Class.JMP32;
  if (!isJump || isCall(instruction)) return [index + 1];
  if ((instruction.code & 0xf0) === Jump.ja) {
    return [index + 1 + (kind === Class.JMP32 ? instruction.imm : instruction.offset)];
  }
  return [index + 1, index + 1 + instruction.offset];
}

/** The most calls on any way from the start to a return of XDP_TX. The programs have no loops. */
function mostCallsToTransmit(code: readonly Instruction[]): { calls: number; ways: number } {
  const known = new Map<number, number>();
  let ways = 0;
  const walk = (index: number): number => {
    const before = known.get(index);
    if (before !== undefined) return before;
    const instruction = code[index] as Instruction;
    const kind = instruction.code & 0xf7;
    const isTransmit =
      (kind === (0x07 | 0xb0) || kind === (0x04 | 0xb0)) &&
      instruction.dst === 0 &&
      (instruction.code & 0x08) === 0 &&
      instruction.imm === XDP_TX &&
      isExit(code[index + 1] as Instruction);
    if (isTransmit) ways += 1;
    const rest = isTransmit ? 0 : Math.max(-Infinity, ...successors(code, index).map(walk));
    const calls = rest + (isCall(instruction) ? 1 : 0);
    known.set(index, calls);
    return calls;
  };
  const calls = walk(0);
  return { calls, ways };
}

/** Before, the number of the CPU is a call too: one a packet. */
const inlines = isAtLeast(parseKernelVersion(release()), 6, 10);
const skipHere =
  skip || (inlines ? false : `Linux ${release()} does not inline bpf_get_smp_processor_id()`);

const rows: readonly { pools: readonly PoolName[]; onTheWay: number; inAll: number }[] = [
  // The others are bpf_redirect, for a next hop on another interface: one each way of forwarding.
  { pools: ["l2"], onTheWay: 0, inAll: 1 },
  { pools: ["ipip4"], onTheWay: 1, inAll: 2 },
  { pools: ["ipip6"], onTheWay: 1, inAll: 2 },
  { pools: ["l2", "ipip4", "ipip6"], onTheWay: 1, inAll: 5 },
];
for (const { pools, onTheWay, inAll } of rows) {
  for (const vips of [[VIP], [VIP_6], [VIP, VIP_6]]) {
    test(`${pools.join(", ")} for ${vips.join(", ")} is sent with ${onTheWay} helper calls`, {
      skip: skipHere,
    }, async () => {
      using director = await DirectorUnderTest.open(stateOf(pools, vips));
      const code = decodeInstructions(xlatedInstructions(director.program.fd));
      assert.equal(code.filter(isCall).length, inAll * vips.length, "calls in the program");
      const { calls, ways } = mostCallsToTransmit(code);
      assert.ok(ways >= 1, "the program transmits");
      assert.equal(calls, onTheWay, "calls on the way");
    });
  }
}
