/**
 * Works out when the program is built what can be: arithmetic on constants, jumps that always or
 * never happen, masks and cuts that change nothing, copies of copies. Constants that fit go into the
 * instruction that reads them.
 */
import { byteSwapped, calculate, holds } from "./constants.ts";
import { Definitions } from "./definitions.ts";
import {
  type IrInstruction,
  isCommutative,
  type Operand,
  type Operation,
  type Register,
  renamed,
  type Width,
} from "./ir.ts";

export function folded(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const definitions = new Definitions(code);
  const origin = originsOf(definitions);
  return code.flatMap(({ operation, source }): IrInstruction[] => {
    const read = renamed(operation, origin, (to) => to);
    const simpler = simplified(read, definitions);
    return simpler === null ? [] : [{ operation: simpler, source }];
  });
}

/** Follows copies of values that are written once to what they are copies of. */
function originsOf(definitions: Definitions): (register: Register) => Register {
  return (register) => {
    let at = register;
    for (;;) {
      const made = definitions.of(at);
      if (made?.op !== "move" || !("register" in made.from)) return at;
      const from = made.from.register;
      // A cut that cuts nothing off is a copy too. What is written again later is none.
      if (made.width === 4 && definitions.bitsOf(from) > 32) return at;
      if (definitions.of(from) === null) return at;
      at = from;
    }
  };
}

/** The same, done with less; null when nothing needs to be done. */
function simplified(operation: Operation, definitions: Definitions): Operation | null {
  const constant = constantOf(operation, definitions);
  if (constant !== null) return constant;
  switch (operation.op) {
    case "alu":
      return arithmetic(operation, definitions);
    case "move": {
      const { from, to, width } = operation;
      if ("imm" in from || width === 8) return operation;
      const cutsNothing = definitions.bitsOf(from.register) <= 32;
      return cutsNothing ? { op: "move", to, from, width: 8 } : operation;
    }
    case "jump": {
      const { left, right, test, width, target } = operation;
      const [a, b] = [definitions.constantOf(left), valueOf(right, definitions)];
      if (a !== null && b !== null) {
        return holds(test, a, b, width) ? { op: "goto", target } : null;
      }
      return { ...operation, right: asImmediate(right, width, definitions) };
    }
    case "store": {
      if (operation.release === true) return operation;
      const width = operation.size === 8 ? 8 : 4;
      return { ...operation, from: asImmediate(operation.from, width, definitions) };
    }
    case "exit":
      return { ...operation, from: asImmediate(operation.from, 8, definitions) };
    case "call":
      return {
        ...operation,
        args: operation.args.map((arg) => asImmediate(arg, 8, definitions)),
      };
    default:
      return operation;
  }
}

/** The operation as a constant, when all it reads is one. */
function constantOf(operation: Operation, definitions: Definitions): Operation | null {
  switch (operation.op) {
    case "alu": {
      const { left, right, alu, width, to } = operation;
      const [a, b] = [definitions.constantOf(left), valueOf(right, definitions)];
      return a === null || b === null ? null : constant(to, calculate(alu, a, b, width));
    }
    case "move": {
      const { from, to, width } = operation;
      if ("imm" in from) return null;
      const value = definitions.constantOf(from.register);
      return value === null ? null : constant(to, BigInt.asUintN(width * 8, value));
    }
    case "negate":
    case "swap":
    case "extend": {
      const value = definitions.constantOf(operation.from);
      if (value === null) return null;
      if (operation.op === "swap") {
        return constant(operation.to, byteSwapped(value, operation.bits));
      }
      const result = operation.op === "negate" ? -value : BigInt.asIntN(operation.bits, value);
      return constant(operation.to, BigInt.asUintN(operation.width * 8, result));
    }
    default:
      return null;
  }
}

function arithmetic(
  operation: Extract<Operation, { op: "alu" }>,
  definitions: Definitions,
): Operation {
  const { alu, to, width } = operation;
  let { left, right } = operation;
  if ("register" in right && isCommutative(alu) && definitions.constantOf(left) !== null) {
    [left, right] = [right.register, { register: left }];
  }
  right = asImmediate(right, width, definitions, alu);
  if (!("imm" in right)) return { ...operation, left, right };
  const imm = BigInt.asUintN(width * 8, BigInt(right.imm));
  const copy: Operation = { op: "move", to, from: { register: left }, width };
  const by = (name: typeof alu, value: number): Operation => ({
    ...operation,
    alu: name,
    left,
    right: { imm: value },
  });
  switch (alu) {
    case "add":
    case "sub":
    case "or":
    case "xor":
    case "lsh":
    case "rsh":
    case "arsh":
      if (imm === 0n) return copy;
      return pairOfShifts({ ...operation, left, right }, definitions);
    case "mul":
      if (imm === 1n) return copy;
      return isPowerOfTwo(imm) ? by("lsh", log2(imm)) : { ...operation, left, right };
    case "div":
      if (imm === 1n) return copy;
      return isPowerOfTwo(imm) ? by("rsh", log2(imm)) : { ...operation, left, right };
    case "mod":
      // The mask must fit an immediate without a sign.
      return isPowerOfTwo(imm) && imm <= 1n << 31n
        ? by("and", Number(imm - 1n))
        : { ...operation, left, right };
    case "and": {
      const bits = definitions.bitsOf(left);
      const all = (1n << BigInt(Math.min(bits, width * 8))) - 1n;
      return (imm & all) === all ? copy : { ...operation, left, right };
    }
    default:
      return { ...operation, left, right };
  }
}

/** Two shifts the same way are one; up and down again by half a register is a cut. */
function pairOfShifts(
  operation: Extract<Operation, { op: "alu" }>,
  definitions: Definitions,
): Operation {
  const { alu, to, width, right, left } = operation;
  const inner = definitions.of(left);
  if (inner?.op !== "alu" || inner.width !== width) return operation;
  if (!("imm" in right) || !("imm" in inner.right)) return operation;
  if (definitions.of(inner.left) === null) return operation;
  const sum = right.imm + inner.right.imm;
  if (alu === inner.alu && (alu === "lsh" || alu === "rsh") && sum < width * 8) {
    return { ...operation, left: inner.left, right: { imm: sum } };
  }
  const cut = alu === "rsh" && inner.alu === "lsh" && right.imm === 32 && inner.right.imm === 32;
  return cut ? { op: "move", to, from: { register: inner.left }, width: 4 } : operation;
}

/** A register that holds a constant as that constant, where an instruction takes one. */
function asImmediate(
  operand: Operand,
  width: Width,
  definitions: Definitions,
  alu: string | null = null,
): Operand {
  if ("imm" in operand) return operand;
  const value = definitions.constantOf(operand.register);
  if (value === null) return operand;
  if (alu === "lsh" || alu === "rsh" || alu === "arsh") {
    // A register's count is taken modulo the width, an immediate one must be below it.
    return { imm: Number(value & BigInt(width * 8 - 1)) };
  }
  const bits = BigInt.asIntN(width * 8, value);
  // The verifier refuses to divide by the constant 0; by a register that holds it, it does not.
  const divides = alu === "div" || alu === "mod" || alu === "sdiv" || alu === "smod";
  if (divides && bits === 0n) return operand;
  return BigInt.asIntN(32, bits) === bits ? { imm: Number(bits) } : operand;
}

function constant(to: Register, value: bigint): Operation {
  const signed = BigInt.asIntN(64, value);
  if (BigInt.asIntN(32, signed) === signed) {
    return { op: "move", to, from: { imm: Number(signed) }, width: 8 };
  }
  if (value < 1n << 32n) {
    return { op: "move", to, from: { imm: Number(BigInt.asIntN(32, value)) }, width: 4 };
  }
  return { op: "wide", to, value: { kind: "imm", value } };
}

const valueOf = (operand: Operand, definitions: Definitions): bigint | null =>
  "imm" in operand
    ? BigInt.asUintN(64, BigInt(operand.imm))
    : definitions.constantOf(operand.register);

const isPowerOfTwo = (value: bigint): boolean => value > 0n && (value & (value - 1n)) === 0n;
const log2 = (value: bigint): number => value.toString(2).length - 1;
