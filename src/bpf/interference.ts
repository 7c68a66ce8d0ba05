/**
 * Which virtual registers live at the same time and so need different physical ones, which physical
 * ones each must not have, and which it would like: a graph for `colour.ts`. Liveness is exact, so a
 * value that is not read on a path holds no register there.
 */
import { clobbersOf } from "./clobbers.ts";
import {
  definedBy,
  FRAME_BASE,
  type IrInstruction,
  isCommutative,
  type Operation,
  type Register,
} from "./ir.ts";
import { frequenciesOf, livenessOf, stepBack } from "./liveness.ts";

/** Two registers that save a move when they are one. */
export interface Affinity {
  readonly first: Register;
  readonly second: Register;
  readonly weight: number;
}

export interface Interference {
  /** By register; empty for those no instruction mentions. */
  readonly neighbours: readonly Set<Register>[];
  /** A bit for each physical register that is overwritten while it lives. */
  readonly forbidden: Uint16Array;
  readonly affinities: readonly Affinity[];
  /** What having a physical register saves, by physical register. */
  readonly wishes: ReadonlyMap<Register, readonly number[]>;
  /** Registers that some instruction mentions. */
  readonly mentioned: readonly Register[];
}

const R0 = 0b1;
/** The context of a packet load. */
const R6 = 0b100_0000;

export function interferenceOf(
  code: readonly IrInstruction[],
  registerCount: number,
): Interference {
  const neighbours = Array.from({ length: registerCount }, () => new Set<Register>());
  const forbidden = new Uint16Array(registerCount);
  const affinities: Affinity[] = [];
  const wishes = new Map<Register, number[]>();
  const mentioned = new Set<Register>();

  const edge = (first: Register, second: Register): void => {
    if (first === second) return;
    neighbours[first]?.add(second);
    neighbours[second]?.add(first);
  };
  const forbid = (register: Register, mask: number): void => {
    forbidden[register] = (forbidden[register] ?? 0) | mask;
  };
  const wish = (register: Register, physical: number, weight: number): void => {
    const wanted = wishes.get(register) ?? Array.from({ length: 10 }, () => 0);
    wanted[physical] = (wanted[physical] ?? 0) + weight;
    wishes.set(register, wanted);
  };
  const like = (first: Register, second: Register, weight: number): void => {
    if (first !== second) affinities.push({ first, second, weight });
  };

  /** `live` is what is read after it. */
  const visit = (operation: Operation, live: ReadonlySet<Register>, weight: number): void => {
    const defined = definedBy(operation);
    if (defined !== null) {
      // A copy may share with what it is a copy of; a move of 32 bits cuts, and is none.
      const copied =
        operation.op === "move" && operation.width === 8 && "register" in operation.from
          ? operation.from.register
          : null;
      for (const other of live) if (other !== copied) edge(defined, other);
    }
    const clobbers = clobbersOf(operation);
    if (clobbers !== 0) for (const other of live) if (other !== defined) forbid(other, clobbers);
    switch (operation.op) {
      case "move":
        if ("register" in operation.from) like(operation.to, operation.from.register, weight);
        break;
      case "swap":
      case "negate":
        like(operation.to, operation.from, weight);
        break;
      case "alu": {
        const { to, left, right, alu } = operation;
        like(to, left, weight);
        if (!("register" in right)) break;
        // `to = left` comes before `to op= right`: right must not sit where the result goes.
        if (isCommutative(alu)) like(to, right.register, weight);
        else if (right.register !== left) edge(to, right.register);
        break;
      }
      case "atomic":
        if (operation.to === null) break;
        like(operation.to, operation.from, weight);
        // `to = from` comes before the base is used.
        if (operation.base !== FRAME_BASE) edge(operation.to, operation.base);
        break;
      case "compareExchange": {
        const { to, base, from, expected } = operation;
        if (base !== FRAME_BASE) forbid(base, R0);
        forbid(from, R0);
        wish(expected, 0, weight);
        wish(to, 0, weight);
        break;
      }
      case "call":
        wish(operation.to, 0, weight);
        operation.args.forEach((arg, index) => {
          if ("register" in arg) wish(arg.register, index + 1, weight);
        });
        break;
      case "packetLoad": {
        // Where the context is not in r6 yet, it is moved there before the index is read.
        const { to, context, index } = operation;
        for (const other of live) if (other !== to && other !== context) forbid(other, R6);
        if (index !== null && index !== context) forbid(index, R6);
        wish(context, 6, weight);
        wish(to, 0, weight);
        break;
      }
      case "parameter":
        wish(operation.to, operation.index + 1, weight);
        break;
      case "exit":
        if ("register" in operation.from) wish(operation.from.register, 0, weight);
        break;
      default:
        break;
    }
  };

  const { blocks, liveOut } = livenessOf(code);
  const frequencies = frequenciesOf(code, blocks);
  const parameters: Register[] = [];
  blocks.forEach((block, index) => {
    const live = new Set(liveOut[index]);
    for (let at = block.end - 1; at >= block.start; at -= 1) {
      const instruction = code[at] as IrInstruction;
      visit(instruction.operation, live, frequencies[index] ?? 1);
      const defined = definedBy(instruction.operation);
      if (defined !== null) mentioned.add(defined);
      if (instruction.operation.op === "parameter") parameters.push(instruction.operation.to);
      stepBack(live, instruction);
      for (const register of live) mentioned.add(register);
    }
  });
  // Parameters arrive all at once, before the first instruction.
  for (const parameter of parameters) {
    for (const other of parameters) edge(parameter, other);
  }
  return { neighbours, forbidden, affinities, wishes, mentioned: [...mentioned] };
}
