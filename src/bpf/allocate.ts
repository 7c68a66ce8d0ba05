/**
 * Gives every virtual register one of r0 to r9 by linear scan over live intervals. What crosses a
 * call lives in r6 to r9, the only ones a call keeps. What finds no register is spilled: its
 * definition is followed by a store to the stack, each use preceded by a load into a register of its
 * own (a constant is simply made again), and the scan starts over. The short intervals that spilling
 * makes are never spilled again, so this ends.
 *
 * Instruction `n` reads at `2n` and writes at `2n + 1`: an operand that ends where a result begins
 * shares its register.
 */
import {
  definedBy,
  FRAME_BASE,
  type FunctionIr,
  type IrInstruction,
  type Operation,
  type Register,
  renamed,
  usedBy,
} from "./ir.ts";
import { STACK_SIZE } from "./isa.ts";
import { livenessOf } from "./liveness.ts";

export interface Allocation {
  readonly code: readonly IrInstruction[];
  /** Physical register by virtual one; -1 for those no instruction mentions. */
  readonly physical: Int8Array;
  readonly stackBytes: number;
  /** Virtual registers that had to live on the stack, for tests and reports. */
  readonly spilled: number;
}

export interface AllocateOptions {
  /** Use fewer than ten registers, to force spilling in tests. At least 6: a call takes five. */
  readonly registersMax?: number;
}

interface Interval {
  readonly register: Register;
  start: number;
  end: number;
  uses: number;
}

const CALLER_SAVED = [0, 1, 2, 3, 4, 5];
const CALLEE_SAVED = [6, 7, 8, 9];
/** Operations whose second operand must outlive the write of the first: see `encode.ts`. */
const COMMUTATIVE = new Set(["add", "mul", "or", "and", "xor"]);

/** @throws {RangeError} when the stack does not hold what must be spilled */
export function allocate(ir: FunctionIr, options: AllocateOptions = {}): Allocation {
  const { registersMax = 10 } = options;
  if (registersMax < 6 || registersMax > 10) {
    throw new RangeError(`Cannot use ${registersMax} registers: 6 to 10 are possible`);
  }
  const temporaries = new Set<Register>();
  let { code, registerCount, stackBytes } = ir;
  let spilled = 0;
  for (;;) {
    const attempt = scan(code, registerCount, temporaries, registersMax);
    if (attempt.spill === null) {
      return { code, physical: attempt.physical, stackBytes, spilled };
    }
    spilled += 1;
    ({ code, registerCount, stackBytes } = spill(
      code,
      attempt.spill,
      registerCount,
      stackBytes,
      temporaries,
    ));
    if (stackBytes > STACK_SIZE) {
      throw new RangeError(
        `Cannot build "${ir.name}": ${stackBytes} bytes of stack are needed, ${STACK_SIZE} exist`,
      );
    }
  }
}

function scan(
  code: readonly IrInstruction[],
  registerCount: number,
  temporaries: ReadonlySet<Register>,
  registersMax: number,
): { readonly physical: Int8Array; readonly spill: Register | null } {
  const intervals = intervalsOf(code);
  const hints = hintsOf(code);
  const calls = code.flatMap(({ operation }, index) =>
    operation.op === "call" ? [index * 2] : [],
  );
  const crossesCall = ({ start, end }: Interval): boolean =>
    calls.some((call) => start < call && end > call);
  const callee = CALLEE_SAVED.filter((register) => register < registersMax);
  const physical = new Int8Array(registerCount).fill(-1);
  let active: Interval[] = [];
  for (const interval of intervals) {
    active = active.filter(({ end }) => end > interval.start);
    const candidates = crossesCall(interval) ? callee : [...CALLER_SAVED, ...callee];
    const busy = new Set(active.map(({ register }) => physical[register]));
    const free = candidates.filter((candidate) => !busy.has(candidate));
    const chosen = choose(free, hints[interval.register] ?? [], physical);
    if (chosen !== undefined) {
      physical[interval.register] = chosen;
      active.push(interval);
      continue;
    }
    // The one that is used least for how long it blocks a register goes to the stack.
    const victim = [
      ...active.filter((other) => candidates.includes(physical[other.register] ?? -1)),
      interval,
    ]
      .filter(({ register }) => !temporaries.has(register))
      .reduce<Interval | null>(
        (worst, other) => (worst === null || cost(other) < cost(worst) ? other : worst),
        null,
      );
    if (victim === null)
      throw new Error("No register can be spilled: an instruction needs more than there are");
    return { physical, spill: victim.register };
  }
  return { physical, spill: null };
}

const cost = ({ start, end, uses }: Interval): number => uses / (end - start + 1);

/** A hinted register if it is free, else the highest free caller-saved one: r1 and up fill with arguments. */
function choose(
  free: readonly number[],
  hints: readonly Hint[],
  physical: Int8Array,
): number | undefined {
  for (const hint of hints) {
    const wanted = hint.kind === "fixed" ? hint.physical : physical[hint.register];
    if (wanted !== undefined && free.includes(wanted)) return wanted;
  }
  return free.findLast((register) => register < 6) ?? free[0];
}

type Hint =
  | { readonly kind: "fixed"; readonly physical: number }
  | { readonly kind: "same"; readonly register: Register };

/** Registers that save a move when they can be had. */
function hintsOf(code: readonly IrInstruction[]): Record<Register, Hint[]> {
  const hints: Record<Register, Hint[]> = {};
  const add = (register: Register, hint: Hint): void => {
    (hints[register] ??= []).push(hint);
  };
  for (const { operation } of code) {
    switch (operation.op) {
      case "call":
        add(operation.to, { kind: "fixed", physical: 0 });
        operation.args.forEach((arg, index) => {
          if ("register" in arg) add(arg.register, { kind: "fixed", physical: index + 1 });
        });
        break;
      case "parameter":
        add(operation.to, { kind: "fixed", physical: operation.index + 1 });
        break;
      case "exit":
        if ("register" in operation.from)
          add(operation.from.register, { kind: "fixed", physical: 0 });
        break;
      case "move":
        if ("register" in operation.from) {
          add(operation.to, { kind: "same", register: operation.from.register });
          add(operation.from.register, { kind: "same", register: operation.to });
        }
        break;
      case "alu":
        add(operation.to, { kind: "same", register: operation.left });
        if ("register" in operation.right && COMMUTATIVE.has(operation.alu)) {
          add(operation.to, { kind: "same", register: operation.right.register });
        }
        break;
      case "swap":
      case "negate":
        add(operation.to, { kind: "same", register: operation.from });
        break;
      default:
        break;
    }
  }
  return hints;
}

/** One interval a register, from its first to its last moment of life, sorted by start. */
function intervalsOf(code: readonly IrInstruction[]): Interval[] {
  const intervals = new Map<Register, Interval>();
  const extend = (register: Register, at: number): Interval => {
    let interval = intervals.get(register);
    if (interval === undefined) {
      interval = { register, start: at, end: at, uses: 0 };
      intervals.set(register, interval);
    }
    interval.start = Math.min(interval.start, at);
    interval.end = Math.max(interval.end, at);
    return interval;
  };
  const { blocks, liveIn, liveOut } = livenessOf(code);
  blocks.forEach((block, index) => {
    for (const register of liveIn[index] ?? []) extend(register, block.start * 2);
    for (const register of liveOut[index] ?? []) extend(register, block.end * 2);
  });
  code.forEach(({ operation }, index) => {
    const read = index * 2;
    for (const register of usedBy(operation)) extend(register, read).uses += 1;
    const defined = definedBy(operation);
    if (defined !== null) {
      // Parameters are all there before the first instruction.
      const written = operation.op === "parameter" ? -1 : read + 1;
      const interval = extend(defined, written);
      interval.uses += 1;
      extend(defined, read + 1.5);
    }
    if (operation.op === "alu" && "register" in operation.right) {
      const { left, right, alu } = operation;
      // `to = left` comes before `to op= right`: right must not sit where the result goes.
      if (!COMMUTATIVE.has(alu) && right.register !== left) extend(right.register, read + 1.5);
    }
  });
  return [...intervals.values()].toSorted((a, b) => a.start - b.start || a.end - b.end);
}

function spill(
  code: readonly IrInstruction[],
  register: Register,
  firstFresh: Register,
  stackBytes: number,
  temporaries: Set<Register>,
): { code: readonly IrInstruction[]; registerCount: number; stackBytes: number } {
  let registerCount = firstFresh;
  const temporary = (): Register => {
    const fresh = registerCount;
    registerCount += 1;
    temporaries.add(fresh);
    return fresh;
  };
  const definitions = code.filter(({ operation }) => definedBy(operation) === register);
  const again = definitions.length === 1 ? remakable(definitions[0]?.operation) : null;
  const slot = again === null ? stackBytes + 8 : stackBytes;
  const out: IrInstruction[] = [];
  for (const { operation, source } of code) {
    const reads = usedBy(operation).includes(register);
    const writes = definedBy(operation) === register;
    if (writes && again !== null) continue;
    let read = register;
    if (reads) {
      read = temporary();
      const load: Operation =
        again === null
          ? { op: "load", to: read, base: FRAME_BASE, offset: -slot, size: 8 }
          : ({ ...again, to: read } as Operation);
      out.push({ operation: load, source });
    }
    const written = writes ? temporary() : register;
    const rewritten = renamed(
      operation,
      (used) => (used === register ? read : used),
      (defined) => (defined === register ? written : defined),
    );
    out.push({ operation: rewritten, source });
    if (writes) {
      const store: Operation = {
        op: "store",
        base: FRAME_BASE,
        offset: -slot,
        from: { register: written },
        size: 8,
      };
      out.push({ operation: store, source });
    }
  }
  return { code: out, registerCount, stackBytes: slot };
}

/** What can be made again from nothing wherever it is read. */
function remakable(operation: Operation | undefined): Operation | null {
  if (operation === undefined) return null;
  if (operation.op === "wide" || operation.op === "frame") return operation;
  return operation.op === "move" && "imm" in operation.from ? operation : null;
}
