/**
 * Computes once what is computed twice on one path: arithmetic, and the addresses of maps' values.
 * Loads are left alone, since memory is shared: whoever reads twice may mean it.
 */
import { Definitions } from "./definitions.ts";
import {
  definedBy,
  type IrInstruction,
  isPure,
  type Operation,
  type Register,
  renamed,
  usedBy,
} from "./ir.ts";
import { blocksOf, predecessorsOf } from "./liveness.ts";

export function reused(code: readonly IrInstruction[]): readonly IrInstruction[] {
  const definitions = new Definitions(code);
  const blocks = blocksOf(code);
  const predecessors = predecessorsOf(blocks);
  const known: Map<string, Register>[] = [];
  const same = new Map<Register, Register>();
  const read = (register: Register): Register => same.get(register) ?? register;
  blocks.forEach((block, index) => {
    // With one way in, what was computed on it is there.
    const [before, ...more] = predecessors[index] ?? [];
    const inherited = before === undefined || more.length > 0 ? undefined : known[before];
    const table = new Map(inherited);
    known[index] = table;
    for (let at = block.start; at < block.end; at += 1) {
      const { operation } = code[at] as IrInstruction;
      const to = definedBy(operation);
      if (to === null || !paysReuse(operation) || definitions.of(to) === null) continue;
      const plain = renamed(operation, read, () => -1);
      if (usedBy(plain).some((register) => definitions.of(register) === null)) continue;
      const key = keyOf(plain);
      const first = table.get(key);
      if (first === undefined) table.set(key, to);
      else same.set(to, first);
    }
  });
  if (same.size === 0) return code;
  return code.flatMap(({ operation, source }) => {
    const to = definedBy(operation);
    if (to !== null && same.has(to)) return [];
    return [{ operation: renamed(operation, read, (register) => register), source }];
  });
}

/** Constants and addresses that only calls take are made where they are needed, at no greater price. */
function paysReuse(operation: Operation): boolean {
  if (!isPure(operation)) return false;
  switch (operation.op) {
    case "alu":
    case "swap":
    case "extend":
    case "negate":
    case "castAddress":
      return true;
    case "wide":
      return operation.value.kind === "imm" || operation.value.kind === "mapValue";
    default:
      return false;
  }
}

const mapNumbers = new WeakMap<object, number>();
let maps = 0;

function keyOf(operation: Operation): string {
  return JSON.stringify(operation, (key, value: unknown) => {
    if (typeof value === "bigint") return String(value);
    // Maps are the same when they are one object, whatever they are called.
    if (key === "map" && typeof value === "object" && value !== null) {
      let number = mapNumbers.get(value);
      if (number === undefined) {
        number = maps;
        maps += 1;
        mapNumbers.set(value, number);
      }
      return number;
    }
    return value;
  });
}
