/**
 * What the builder records and the passes rewrite: instructions over virtual registers, in order,
 * with labels. A virtual register may be written more than once (variables), so liveness is data
 * flow, not a look at first and last mention.
 */
import type { MapSpec } from "./image.ts";
import type { AluName, AtomicName, JumpName, Size } from "./isa.ts";
import type { Layout } from "./layout.ts";
import type { SourceLocation } from "./source.ts";

/** A virtual register: unbounded, unlike r0 to r9. */
export type Register = number;
export type Label = number;
export type Width = 4 | 8;

/** The base of a stack access: the frame pointer with a negative offset. */
export const FRAME_BASE = "frame";
export type Base = Register | typeof FRAME_BASE;

/** Either a register or a signed 32-bit immediate. */
export type Operand = { readonly register: Register } | { readonly imm: number };

export type WideValue =
  | { readonly kind: "imm"; readonly value: bigint }
  | { readonly kind: "mapFd"; readonly map: MapSpec }
  | { readonly kind: "mapValue"; readonly map: MapSpec; readonly offset: number }
  /** The address of a variable of the kernel, found by name when the program is loaded. */
  | { readonly kind: "kernelVariable"; readonly name: string }
  /** A function of this program, for helpers that call back. */
  | { readonly kind: "function"; readonly callee: FunctionIr };

export type CallTarget =
  | {
      readonly kind: "helper";
      readonly id: number;
      readonly name: string;
      readonly fast?: true;
    }
  /** A function of the kernel, found by name when the program is loaded. */
  | { readonly kind: "kfunc"; readonly name: string; readonly fast?: true }
  | { readonly kind: "function"; readonly callee: FunctionIr };

/** One operation. `to` is what it defines. */
export type Operation =
  /** Parameters of the function: all at once, first thing in it. */
  | { readonly op: "parameter"; readonly to: Register; readonly index: number }
  | { readonly op: "move"; readonly to: Register; readonly from: Operand; readonly width: Width }
  | { readonly op: "wide"; readonly to: Register; readonly value: WideValue }
  | { readonly op: "frame"; readonly to: Register; readonly offset: number }
  | {
      readonly op: "alu";
      readonly to: Register;
      readonly alu: AluName;
      readonly left: Register;
      readonly right: Operand;
      readonly width: Width;
    }
  | { readonly op: "negate"; readonly to: Register; readonly from: Register; readonly width: Width }
  /** Sign-extends the low `bits` to `width`. */
  | {
      readonly op: "extend";
      readonly to: Register;
      readonly from: Register;
      readonly bits: 8 | 16 | 32;
      readonly width: Width;
    }
  /** To or from network order: swaps on a little-endian target, and truncates to `bits`. */
  | {
      readonly op: "swap";
      readonly to: Register;
      readonly from: Register;
      readonly bits: 16 | 32 | 64;
    }
  | {
      readonly op: "load";
      readonly to: Register;
      readonly base: Base;
      readonly offset: number;
      readonly size: Size;
      /** Sign-extended to 64 bits. */
      readonly signed?: true;
      /** What was stored before its release is seen after it. */
      readonly acquire?: true;
    }
  | {
      readonly op: "store";
      readonly base: Base;
      readonly offset: number;
      readonly from: Operand;
      readonly size: Size;
      /** Whoever acquires it sees what was stored before; takes a register. */
      readonly release?: true;
    }
  /** Changes memory as one locked step; `to` is what was there before, null when nobody asks. */
  | {
      readonly op: "atomic";
      readonly to: Register | null;
      readonly atomic: AtomicName;
      readonly base: Base;
      readonly offset: number;
      readonly from: Register;
      readonly size: 4 | 8;
    }
  /** Legacy packet access: `size` bytes of the packet at `index + offset` as a number; ends the function with 0 where there are none. */
  | {
      readonly op: "packetLoad";
      readonly to: Register;
      /** Of a socket buffer; it must lie in r6. */
      readonly context: Register;
      readonly index: Register | null;
      readonly offset: number;
      readonly size: 1 | 2 | 4;
    }
  /** An address in an arena as the other side takes it: a program's accesses, or user space. */
  | {
      readonly op: "castAddress";
      readonly to: Register;
      readonly from: Register;
      readonly side: "program" | "user";
      readonly map: MapSpec;
    }
  /** Stores `from` where `expected` was; `to` is what was there. */
  | {
      readonly op: "compareExchange";
      readonly to: Register;
      readonly base: Base;
      readonly offset: number;
      readonly expected: Register;
      readonly from: Register;
      readonly size: 4 | 8;
    }
  | {
      readonly op: "call";
      readonly to: Register;
      readonly target: CallTarget;
      readonly args: readonly Operand[];
      /** What lives across a fast call in registers that others overwrite (`fast-calls.ts`). */
      readonly kept?: readonly KeptRegister[];
    }
  /** To and from a slot on the stack that only the allocator knows (`spill.ts`, `slots.ts`). */
  | { readonly op: "spill"; readonly slot: number; readonly from: Register }
  | { readonly op: "reload"; readonly to: Register; readonly slot: number }
  /** From the first cold one on, all code is off the straight path. */
  | { readonly op: "label"; readonly label: Label; readonly cold?: true }
  | { readonly op: "goto"; readonly target: Label }
  | {
      readonly op: "jump";
      readonly test: JumpName;
      readonly left: Register;
      readonly right: Operand;
      readonly width: Width;
      readonly target: Label;
    }
  /** Jumps when the kernel has seen it some eight million times: bounds a loop nobody can prove. */
  | { readonly op: "mayGoto"; readonly target: Label }
  | { readonly op: "exit"; readonly from: Operand };

/** A physical register and its place in the frame. */
export interface KeptRegister {
  readonly register: number;
  readonly offset: number;
}

export interface IrInstruction {
  readonly operation: Operation;
  readonly source: SourceLocation | null;
}

/** What a function takes: a number, or an address of a layout (`null`: of anything). */
export type ParameterType =
  | { readonly kind: "number"; readonly size: 4 | 8 }
  | { readonly kind: "pointer"; readonly to: Layout | null };

/** A function as recorded: what the passes take and give. */
export interface FunctionIr {
  readonly name: string;
  readonly parameters: readonly ParameterType[];
  /** Verified on its own, for any argument; others are verified at each call. */
  readonly global: boolean;
  readonly code: readonly IrInstruction[];
  readonly registerCount: number;
  /** Bytes of stack taken by `allocate`d variables; spills come below them. */
  readonly stackBytes: number;
}

/** The register an operation defines, if any. */
export function definedBy(operation: Operation): Register | null {
  return "to" in operation ? operation.to : null;
}

/** The registers an operation reads. */
export function usedBy(operation: Operation): Register[] {
  switch (operation.op) {
    case "move":
    case "store":
    case "exit": {
      const used = registersOf(operation.from);
      return operation.op === "store" ? [...baseOf(operation.base), ...used] : used;
    }
    case "alu":
    case "jump":
      return [operation.left, ...registersOf(operation.right)];
    case "negate":
    case "swap":
    case "extend":
    case "castAddress":
    case "spill":
      return [operation.from];
    case "packetLoad":
      return operation.index === null ? [operation.context] : [operation.context, operation.index];
    case "load":
      return baseOf(operation.base);
    case "atomic":
      return [...baseOf(operation.base), operation.from];
    case "compareExchange":
      return [...baseOf(operation.base), operation.expected, operation.from];
    case "call":
      return operation.args.flatMap(registersOf);
    case "parameter":
    case "wide":
    case "frame":
    case "reload":
    case "label":
    case "goto":
    case "mayGoto":
      return [];
  }
}

/** The same operation with every register it reads and the one it defines replaced. */
export function renamed(
  operation: Operation,
  use: (register: Register) => Register,
  define: (register: Register) => Register,
): Operation {
  const operand = (from: Operand): Operand =>
    "register" in from ? { register: use(from.register) } : from;
  const base = (from: Base): Base => (from === FRAME_BASE ? from : use(from));
  switch (operation.op) {
    case "move":
      return { ...operation, from: operand(operation.from), to: define(operation.to) };
    case "store":
      return { ...operation, base: base(operation.base), from: operand(operation.from) };
    case "exit":
      return { ...operation, from: operand(operation.from) };
    case "alu":
      return {
        ...operation,
        left: use(operation.left),
        right: operand(operation.right),
        to: define(operation.to),
      };
    case "jump":
      return { ...operation, left: use(operation.left), right: operand(operation.right) };
    case "negate":
    case "swap":
    case "extend":
    case "castAddress":
      return { ...operation, from: use(operation.from), to: define(operation.to) };
    case "packetLoad":
      return {
        ...operation,
        context: use(operation.context),
        index: operation.index === null ? null : use(operation.index),
        to: define(operation.to),
      };
    case "load":
      return { ...operation, base: base(operation.base), to: define(operation.to) };
    case "atomic":
      return {
        ...operation,
        base: base(operation.base),
        from: use(operation.from),
        to: operation.to === null ? null : define(operation.to),
      };
    case "compareExchange":
      return {
        ...operation,
        base: base(operation.base),
        expected: use(operation.expected),
        from: use(operation.from),
        to: define(operation.to),
      };
    case "call":
      return { ...operation, args: operation.args.map(operand), to: define(operation.to) };
    case "spill":
      return { ...operation, from: use(operation.from) };
    case "parameter":
    case "wide":
    case "frame":
    case "reload":
      return { ...operation, to: define(operation.to) };
    case "label":
    case "goto":
    case "mayGoto":
      return operation;
  }
}

/** Whether leaving it out changes nothing but the register it defines. */
export function isPure(operation: Operation): boolean {
  switch (operation.op) {
    case "move":
    case "wide":
    case "frame":
    case "alu":
    case "negate":
    case "swap":
    case "extend":
    case "castAddress":
      return true;
    case "load":
      return operation.acquire !== true;
    default:
      return false;
  }
}

/** Where control may go besides the next instruction. */
export const targetOf = (operation: Operation): Label | null =>
  "target" in operation && operation.op !== "call" ? operation.target : null;

/** Whether control never reaches the next instruction. */
export const endsFlow = (operation: Operation): boolean =>
  operation.op === "exit" || operation.op === "goto";

const registersOf = (operand: Operand): Register[] =>
  "register" in operand ? [operand.register] : [];
const baseOf = (base: Base): Register[] => (base === FRAME_BASE ? [] : [base]);

const COMMUTATIVE: ReadonlySet<AluName> = new Set(["add", "mul", "or", "and", "xor"]);
/** Whether its sides may change places. */
export const isCommutative = (alu: AluName): boolean => COMMUTATIVE.has(alu);
