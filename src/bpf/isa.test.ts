import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encode } from "./encode.ts";
import type { IrInstruction, Operation } from "./ir.ts";
import { assembleInstructions, Class, decodeInstructions, type Instruction } from "./isa.ts";
import { NEWEST_TARGET, OLDEST_TARGET, type Target } from "./target.ts";

test("assembleInstructions() puts dst in the low nibble and numbers little endian (RFC 9669 §3.1)", () => {
  const bytes = assembleInstructions([{ code: 0x7b, dst: 10, src: 1, offset: -8, imm: -2 }]);
  assert.equal(Buffer.from(bytes).toString("hex"), "7b1af8fffeffffff");
});

test("decodeInstructions() undoes assembleInstructions()", () => {
  const instruction = fc.record(
    {
      code: fc.nat(255),
      dst: fc.nat(15),
      src: fc.nat(15),
      offset: fc.integer({ min: -0x8000, max: 0x7fff }),
      imm: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(instruction), (instructions) => {
      const bytes = assembleInstructions(instructions);
      assert.deepEqual(decodeInstructions(bytes), instructions);
      assert.deepEqual(assembleInstructions(decodeInstructions(bytes)), bytes);
    }),
  );
});

test("decodeInstructions() refuses a part of an instruction", () => {
  assert.throws(() => decodeInstructions(new Uint8Array(12)), {
    name: "RangeError",
    message: "Cannot decode instructions: 12 bytes are not whole ones",
  });
});

test("encode() moves arguments as if at once, whatever registers they lie in", () => {
  const places = fc.array(fc.nat(9), { minLength: 0, maxLength: 5 });
  fc.assert(
    fc.property(places, (registers) => {
      const args = registers.map((_, register) => ({ register }));
      const target = { kind: "helper", id: 1, name: "any" } as const;
      const instructions = encoded([{ op: "call", to: 9, target, args }], [...registers]);
      const held = runMoves(instructions);
      registers.forEach((from, index) => assert.equal(held[index + 1], from));
    }),
    { numRuns: 2000 },
  );
});

test("encode() lets parameters arrive at once", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([1, 2, 3, 4, 5], { minLength: 5 }), (registers) => {
      const code = registers.map((_, index): Operation => ({ op: "parameter", to: index, index }));
      const held = runMoves(encoded(code, registers));
      registers.forEach((to, index) => assert.equal(held[to], index + 1));
    }),
  );
});

test("encode() jumps 32767 instructions and refuses to jump further", () => {
  assert.equal(encoded(far(32767), [0])[0]?.offset, 32767);
  assert.throws(() => encoded(far(32768), [0]), {
    name: "RangeError",
    message: "Cannot jump 32768 instructions: 32767 is the furthest",
  });
});

test("encode() jumps any distance for a target that can, conditionally too", () => {
  const [goto] = encoded(far(32768), [0], NEWEST_TARGET);
  assert.deepEqual(goto, { code: 0x06, dst: 0, src: 0, offset: 0, imm: 32768 });
  const [, ...over] = far(32768);
  const jump = { op: "jump", test: "eq", left: 0, right: { imm: 7 }, width: 8, target: 0 } as const;
  const [test_, skip, long] = encoded([jump, ...over], [0], NEWEST_TARGET);
  assert.deepEqual(test_, { code: 0x15, dst: 0, src: 0, offset: 1, imm: 7 });
  assert.deepEqual(skip, { code: 0x05, dst: 0, src: 0, offset: 1, imm: 0 });
  assert.deepEqual(long, { code: 0x06, dst: 0, src: 0, offset: 0, imm: 32768 });
});

/** Jumps over `count` instructions. */
const far = (count: number): Operation[] => [
  { op: "goto", target: 0 },
  ...Array.from({ length: count }, (): Operation => ({ op: "negate", to: 0, from: 0, width: 8 })),
  { op: "label", label: 0 },
  { op: "exit", from: { imm: 0 } },
];

function encoded(
  operations: readonly Operation[],
  physical: readonly number[],
  target: Target = OLDEST_TARGET,
): readonly Instruction[] {
  const code = operations.map((operation): IrInstruction => ({ operation, source: null }));
  const registers = Int8Array.from({ length: 10 }, (_, index) => physical[index] ?? -1);
  return encode({ code, physical: registers, stackBytes: 0, spilled: 0, kept: 0 }, target)
    .instructions;
}

/** What each register holds after the moves, when each held its own number before. */
function runMoves(instructions: readonly Instruction[]): number[] {
  const held = Array.from({ length: 11 }, (_, index) => index);
  for (const { code, dst, src } of instructions) {
    if ((code & 7) === Class.ALU64) held[dst] = held[src] ?? -1;
  }
  return held;
}
