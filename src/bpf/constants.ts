/** What an operation gives when its operands are known: the instruction set's arithmetic on numbers (RFC 9669 §4). */
import type { Width } from "./ir.ts";
import type { AluName, JumpName } from "./isa.ts";

/** The result as the 64 bits of a register: operations on 32 bits clear the upper half. */
export function calculate(alu: AluName, left: bigint, right: bigint, width: Width): bigint {
  const bits = width * 8;
  const [a, b] = [BigInt.asUintN(bits, left), BigInt.asUintN(bits, right)];
  const [signedA, signedB] = [BigInt.asIntN(bits, left), BigInt.asIntN(bits, right)];
  const count = b & BigInt(bits - 1);
  return BigInt.asUintN(bits, apply());

  function apply(): bigint {
    switch (alu) {
      case "add":
        return a + b;
      case "sub":
        return a - b;
      case "mul":
        return a * b;
      case "div":
        return b === 0n ? 0n : a / b;
      case "mod":
        return b === 0n ? a : a % b;
      case "sdiv":
        return b === 0n ? 0n : signedA / signedB;
      case "smod":
        return b === 0n ? a : signedA % signedB;
      case "and":
        return a & b;
      case "or":
        return a | b;
      case "xor":
        return a ^ b;
      case "lsh":
        return a << count;
      case "rsh":
        return a >> count;
      case "arsh":
        return signedA >> count;
    }
  }
}

/** Whether a jump is taken. */
export function holds(test: JumpName, left: bigint, right: bigint, width: Width): boolean {
  const bits = width * 8;
  const [a, b] = [BigInt.asUintN(bits, left), BigInt.asUintN(bits, right)];
  const [signedA, signedB] = [BigInt.asIntN(bits, left), BigInt.asIntN(bits, right)];
  switch (test) {
    case "eq":
      return a === b;
    case "ne":
      return a !== b;
    case "gt":
      return a > b;
    case "ge":
      return a >= b;
    case "lt":
      return a < b;
    case "le":
      return a <= b;
    case "sgt":
      return signedA > signedB;
    case "sge":
      return signedA >= signedB;
    case "slt":
      return signedA < signedB;
    case "sle":
      return signedA <= signedB;
    case "set":
      return (a & b) !== 0n;
  }
}

/** The low `bits` in reverse byte order. */
export function byteSwapped(value: bigint, bits: number): bigint {
  let out = 0n;
  for (let at = 0; at < bits; at += 8) out = (out << 8n) | ((value >> BigInt(at)) & 0xffn);
  return out;
}
