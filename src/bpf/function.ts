/**
 * Writes one function: constants, variables, control flow, maps, calls. It only records; the passes
 * in `program.ts` turn the record into instructions.
 *
 * Control flow is structured. A guard reads as one (`require`), and what happens when it fails is an
 * `Exit`: a verdict, or a block written once, placed after everything else and shared by all who
 * leave through it, so that the straight path stays straight.
 */
import type { MapSpec } from "./image.ts";
import { MapType } from "./image.ts";
import { Helper } from "./helpers.ts";
import {
  type CallTarget,
  endsFlow,
  FRAME_BASE,
  type FunctionIr,
  type IrInstruction,
  type Label,
  type Operand,
  type Operation,
  type ParameterType,
  type Register,
} from "./ir.ts";
import { INVERSE_JUMP, type Size, STACK_SIZE } from "./isa.ts";
import type { Layout } from "./layout.ts";
import { authorLocation } from "./source.ts";
import {
  type Condition,
  define,
  type Emitter,
  Expression,
  immediate,
  type Lazy,
  requireFits,
  requireOwn,
  type Scalar,
  Value,
  Variable,
} from "./value.ts";
import { Pointer } from "./view.ts";

/** A block to leave the straight path by. Made by `FunctionBuilder.exit`. */
export interface Exit {
  readonly label: Label;
}

/** Where a guard leads: a constant return value, or an exit. */
export type Otherwise = number | Exit;

interface PendingExit extends Exit {
  readonly body: () => void;
}

/** The two places a loop's body may go to instead of on. */
export interface Loop {
  /** Past the loop. */
  readonly done: Exit;
  /** To the next round. */
  readonly next: Exit;
}

/** A function of the kernel that programs may call; the loader finds it by name. */
export interface Kfunc {
  readonly name: string;
  readonly argumentCount: number;
}

/** What can be called: a helper by number, a function of the kernel by name, or one of this program. */
export type Callee = Helper | Kfunc | FunctionIr;

export interface FunctionOptions {
  /** One is a pointer to the context unless said otherwise. */
  readonly parameters?: readonly ParameterType[];
  readonly global?: boolean;
}

export class FunctionBuilder implements Emitter {
  readonly name: string;
  readonly #options: FunctionOptions;
  readonly #code: IrInstruction[] = [];
  readonly #verdicts = new Map<number, PendingExit>();
  readonly #exits = new Map<Label, PendingExit>();
  readonly #referenced = new Set<Label>();
  #registers = 0;
  #labels = 0;
  #stackBytes = 0;
  #keySlot: Pointer | null = null;
  /** Labels of loops, placed where the loop is. */
  readonly #inline = new Map<Label, Exit>();
  /** The first label inside of each scope that must be left by its end, innermost last. */
  readonly #scopes: { readonly label: Label; readonly what: string }[] = [];

  constructor(name: string, options: FunctionOptions = {}) {
    this.name = name;
    this.#options = options;
  }

  fresh(): Register {
    const register = this.#registers;
    this.#registers += 1;
    return register;
  }

  emit(operation: Operation): void {
    this.#code.push({ operation, source: authorLocation() });
  }

  /** The function's parameter `index`, as a 64-bit value. Ask for all of them before anything else. */
  parameter(index: number): Value {
    if (!PARAMETERS.includes(index)) {
      throw new RangeError(`Cannot take parameter ${index}: a function has 5, counted from 0`);
    }
    return define(this, 8, (to) => ({ op: "parameter", to, index }));
  }

  /** A constant in a register, for what takes no immediate. */
  constant(value: number | bigint, size: Size = 4): Value {
    requireFits(BigInt(value), size);
    const operand = immediate(this, BigInt(value), size === 8 ? 8 : 4);
    if ("register" in operand) return new Value(this, operand.register, size);
    return define(this, size, (to) => ({
      op: "move",
      to,
      from: operand,
      width: size === 8 ? 8 : 4,
    }));
  }

  /** A variable holding `initial`. */
  variable(initial: Scalar, size: Size = 4): Variable {
    const variable = new Variable(this, this.fresh(), size);
    variable.set(initial);
    return variable;
  }

  /** What a value points to, when it is an address. */
  pointer(address: Value): Pointer {
    requireOwn(this, address.emitter);
    return new Pointer(this, address.register);
  }

  /** `bytes` of stack, eight-byte aligned, not initialised: the verifier refuses reading before writing. */
  stack(bytes: number): Pointer {
    if (!Number.isInteger(bytes) || bytes <= 0) {
      throw new RangeError(`Cannot take ${bytes} bytes of stack: a whole number above 0 is needed`);
    }
    this.#stackBytes += Math.ceil(bytes / 8) * 8;
    if (this.#stackBytes > STACK_SIZE) {
      throw new RangeError(
        `Cannot take ${bytes} bytes of stack: ${this.#stackBytes} of ${STACK_SIZE} are asked for`,
      );
    }
    return new Pointer(this, FRAME_BASE, -this.#stackBytes);
  }

  /** Runs `then` when the condition holds, else `otherwise`. */
  if(condition: Lazy, then: () => void, otherwise?: () => void): void {
    const elseLabel = this.#label();
    this.#branch(condition, elseLabel, false);
    then();
    if (otherwise === undefined) {
      this.#place(elseLabel);
      return;
    }
    const endLabel = this.#label();
    const thenFlowsOn = this.#flowsOn();
    if (thenFlowsOn) this.emit({ op: "goto", target: endLabel });
    this.#place(elseLabel);
    otherwise();
    // Where both sides leave, nothing comes here: no return is missing.
    if (thenFlowsOn) this.#place(endLabel);
  }

  /** Guard: goes on only where the condition holds. */
  require(condition: Lazy, otherwise: Otherwise): void {
    this.#branch(condition, this.#exitLabel(otherwise), false);
  }

  /** Guard the other way round: leaves where the condition holds. */
  leaveIf(condition: Lazy, exit: Otherwise): void {
    this.#branch(condition, this.#exitLabel(exit), true);
  }

  /**
   * Runs `body` again and again until it leaves. The verifier walks every round, and must see that
   * they end: by a counter with a constant bound, an iterator (`loops.ts`) or `mayLeave`.
   */
  loop(body: (loop: Loop) => void): void {
    const [next, done] = [this.#inlineExit(), this.#inlineExit()];
    this.#place(next.label);
    body({ next, done });
    if (this.#flowsOn()) this.emit({ op: "goto", target: next.label });
    // A loop that nobody leaves goes nowhere: what follows is not reached.
    if (this.#referenced.has(done.label)) this.#place(done.label);
  }

  /** Runs `body` while the condition, evaluated anew for each round, holds. */
  while(condition: () => Condition, body: (loop: Loop) => void): void {
    this.loop((loop) => {
      this.require(condition(), loop.done);
      body(loop);
    });
  }

  /** Runs `body` for 0 to `count - 1`; the bound is what the verifier needs. */
  repeat(count: number, body: (index: Value, loop: Loop) => void): void {
    if (!Number.isInteger(count) || count < 1) {
      throw new RangeError(`Cannot repeat ${count} times: a whole number above 0 is needed`);
    }
    const index = this.variable(0, 8);
    this.loop(({ done }) => {
      const next = this.#inlineExit();
      body(index.copy(), { next, done });
      if (this.#referenced.has(next.label)) this.#place(next.label);
      index.set(index.add(1));
      this.leaveIf(index.ge(count), done);
    });
  }

  /** Runs `body`, which may leave to its own end. */
  block(body: (end: Exit) => void): void {
    const end = this.#inlineExit();
    body(end);
    if (this.#referenced.has(end.label)) this.#place(end.label);
  }

  /** Leaves when the kernel has had enough of a loop it cannot bound. Needs `mayGoto`. */
  mayLeave(exit: Otherwise): void {
    this.emit({ op: "mayGoto", target: this.#exitLabel(exit) });
  }

  /**
   * What is written in `body` must be left by its end: something is held there (`what`) that the
   * verifier wants back.
   */
  held<T>(what: string, body: () => T): T {
    this.#scopes.push({ label: this.#labels, what });
    try {
      return body();
    } finally {
      this.#scopes.pop();
    }
  }

  /** Declares an exit. Its body is written once, after the straight path, if anything leads there. */
  exit(body: () => void): Exit {
    const exit: PendingExit = { label: this.#label(), body };
    this.#exits.set(exit.label, exit);
    return exit;
  }

  goto(exit: Otherwise): void {
    this.emit({ op: "goto", target: this.#exitLabel(exit) });
  }

  /** Ends the function. @throws {TypeError} for a value in network order */
  return(value: Scalar): void {
    this.#requireNothingHeld();
    if (!(value instanceof Expression)) {
      this.emit({ op: "exit", from: immediate(this, BigInt(value), 8) });
      return;
    }
    const from = value.read();
    if (from.order === "network") {
      throw new TypeError("Cannot return a value in network order: convert it with toHost() first");
    }
    this.emit({ op: "exit", from: this.#own(from) });
  }

  /**
   * Calls a kernel helper, a function of the kernel or one of this program.
   * @throws {TypeError} when the number of arguments is wrong
   */
  call(callee: Callee, ...args: (Scalar | Pointer)[]): Value {
    const count = "code" in callee ? callee.parameters.length : callee.argumentCount;
    if (args.length !== count) {
      throw new TypeError(
        `Cannot call ${callee.name} with ${args.length} arguments: it takes ${count}`,
      );
    }
    const operands = args.map((arg): Operand => {
      if (arg instanceof Pointer) return this.#own(arg.address());
      if (arg instanceof Expression) return this.#own(arg.read());
      return immediate(this, BigInt(arg), 8);
    });
    return define(this, 8, (to) => ({
      op: "call",
      to,
      target: callTarget(callee),
      args: operands,
    }));
  }

  /**
   * Goes on in the program in slot `index` of a program array and does not come back: its verdict is
   * the verdict. An empty slot makes it go on here, by `otherwise`. The slot is known now, so the
   * kernel makes a direct jump of it (bpf_do_misc_fixups() in kernel/bpf/verifier.c) and patches
   * that when the slot is filled anew.
   * @throws {TypeError} for any other map
   * @throws {RangeError} for a slot the array does not have
   */
  tailCall(context: Value, programs: MapSpec, index: number, otherwise: Otherwise): void {
    if (programs.type !== MapType.BPF_MAP_TYPE_PROG_ARRAY) {
      throw new TypeError(
        `Cannot go on in a program of map "${programs.name}": only a program array has any`,
      );
    }
    if (!Number.isInteger(index) || index < 0 || index >= programs.maxEntries) {
      throw new RangeError(
        `Cannot go on in slot ${index} of map "${programs.name}": it has ${programs.maxEntries}`,
      );
    }
    this.call(Helper.tailCall, context, this.map(programs), index);
    this.goto(otherwise);
  }

  /** The address of a function of this program, for helpers that call back. */
  functionAddress(callee: FunctionIr): Value {
    return define(this, 8, (to) => ({ op: "wide", to, value: { kind: "function", callee } }));
  }

  /** The address of a variable of the kernel, as its BTF knows it; the loader finds it by name. */
  kernelVariable(name: string): Pointer {
    const value = define(this, 8, (to) => ({
      op: "wide",
      to,
      value: { kind: "kernelVariable", name },
    }));
    return new Pointer(this, value.register);
  }

  /** The map itself, as helpers take it. */
  map(map: MapSpec): Value {
    return define(this, 8, (to) => ({ op: "wide", to, value: { kind: "mapFd", map } }));
  }

  /**
   * The value of a single-entry array map, addressed directly: no helper, no null check.
   * @throws {TypeError} for any other map
   * @throws {RangeError} for an offset outside the value
   */
  mapValue(map: MapSpec, offset = 0): Pointer {
    if (map.type !== MapType.BPF_MAP_TYPE_ARRAY || map.maxEntries !== 1) {
      throw new TypeError(
        `Cannot address map "${map.name}" directly: only an array of one entry can be`,
      );
    }
    if (!Number.isInteger(offset) || offset < 0 || offset >= map.valueSize) {
      throw new RangeError(
        `Cannot address byte ${offset} of map "${map.name}": its value has ${map.valueSize} bytes`,
      );
    }
    const value = define(this, 8, (to) => ({
      op: "wide",
      to,
      value: { kind: "mapValue", map, offset },
    }));
    return new Pointer(this, value.register);
  }

  /** The entry of a map under a 32-bit key; leaves by `otherwise` when there is none. */
  lookup(map: MapSpec, key: Scalar, otherwise: Otherwise): Pointer {
    if (map.keySize !== 4) {
      throw new TypeError(
        `Cannot look up a number in map "${map.name}": its keys have ${map.keySize} bytes`,
      );
    }
    this.#keySlot ??= this.stack(8);
    this.#keySlot.place(4).set(key);
    return this.lookupAt(map, this.#keySlot, otherwise);
  }

  /** The entry of a map under the key at `key`; leaves by `otherwise` when there is none. */
  lookupAt(map: MapSpec, key: Pointer, otherwise: Otherwise): Pointer {
    const entry = this.call(Helper.mapLookup, this.map(map), key);
    this.require(entry.ne(0), otherwise);
    return new Pointer(this, entry.register);
  }

  /** A struct on the stack, all zero. */
  zeroed(layout: Layout): Pointer {
    const at = this.stack(layout.size);
    for (let offset = 0; offset < layout.size; offset += 8) at.plus(offset).place(8).set(0);
    return at;
  }

  /** Closes the function. @throws {Error} when its end can be reached without a return */
  finish(): FunctionIr {
    if (this.#flowsOn())
      throw new Error(`Cannot build "${this.name}": its end is reached without a return`);
    const placed = new Set<Label>();
    for (;;) {
      const next = [...this.#exits.values()].find(
        ({ label }) => this.#referenced.has(label) && !placed.has(label),
      );
      if (next === undefined) break;
      placed.add(next.label);
      this.emit({ op: "label", label: next.label, cold: true });
      next.body();
      if (this.#flowsOn())
        throw new Error(`Cannot build "${this.name}": an exit ends without a return`);
    }
    return {
      name: this.name,
      parameters: this.#options.parameters ?? [{ kind: "pointer", to: null }],
      global: this.#options.global ?? false,
      code: this.#code,
      registerCount: this.#registers,
      stackBytes: this.#stackBytes,
    };
  }

  #label(): Label {
    const label = this.#labels;
    this.#labels += 1;
    return label;
  }

  #inlineExit(): Exit {
    const exit = { label: this.#label() };
    this.#inline.set(exit.label, exit);
    return exit;
  }

  /** @throws {TypeError} when something is held that leaving would lose */
  #requireNothingHeld(label: Label | null = null): void {
    const scope = this.#scopes.at(-1);
    if (scope === undefined) return;
    const inside = label !== null && this.#inline.has(label) && label >= scope.label;
    if (!inside) throw new TypeError(`Cannot leave here: ${scope.what} must be given back first`);
  }

  #place(label: Label): void {
    this.emit({ op: "label", label });
  }

  #flowsOn(): boolean {
    const last = this.#code.at(-1);
    return last === undefined || !endsFlow(last.operation);
  }

  #exitLabel(otherwise: Otherwise): Label {
    let exit = otherwise;
    if (typeof exit === "number") {
      const verdict = exit;
      let pending = this.#verdicts.get(verdict);
      if (pending === undefined) {
        pending = this.exit(() => this.return(verdict)) as PendingExit;
        this.#verdicts.set(verdict, pending);
      }
      exit = pending;
    }
    if ((this.#inline.get(exit.label) ?? this.#exits.get(exit.label)) !== exit) {
      throw new TypeError("Cannot leave by an exit of another function: declare one here");
    }
    this.#requireNothingHeld(exit.label);
    this.#referenced.add(exit.label);
    return exit.label;
  }

  #own(value: Value): Operand {
    requireOwn(this, value.emitter);
    return { register: value.register };
  }

  /** Jumps to `target` when the condition's truth is `wanted`, else goes on. */
  #branch(lazy: Lazy, target: Label, wanted: boolean): void {
    const condition = typeof lazy === "function" ? lazy() : lazy;
    switch (condition.kind) {
      case "not":
        this.#branch(condition.part, target, !wanted);
        break;
      case "all":
      case "any": {
        // "any" wanted and "all" unwanted are decided by a single part; the others by all of them.
        if ((condition.kind === "any") === wanted) {
          for (const part of condition.parts) this.#branch(part, target, wanted);
          break;
        }
        // Nothing to decide: all of nothing holds, any of nothing does not.
        if (condition.parts.length === 0) {
          this.emit({ op: "goto", target });
          break;
        }
        const on = this.#label();
        condition.parts.forEach((part, index) => {
          const last = index === condition.parts.length - 1;
          this.#branch(part, last ? target : on, last ? wanted : !wanted);
        });
        this.#place(on);
        break;
      }
      case "test":
        this.#test(condition, target, wanted);
        break;
    }
  }

  #test(condition: Extract<Condition, { kind: "test" }>, target: Label, wanted: boolean): void {
    const { left, right, width } = condition;
    requireOwn(this, condition.emitter);
    const test = wanted ? condition.test : INVERSE_JUMP[condition.test];
    if (test !== undefined) {
      this.emit({ op: "jump", test, left, right, width, target });
      return;
    }
    // There is no "jump if no bit is set": jump over a goto.
    const over = this.#label();
    this.emit({ op: "jump", test: condition.test, left, right, width, target: over });
    this.emit({ op: "goto", target });
    this.#place(over);
  }
}

function callTarget(callee: Callee): CallTarget {
  if ("code" in callee) return { kind: "function", callee };
  if ("id" in callee) return { kind: "helper", id: callee.id, name: callee.name };
  return { kind: "kfunc", name: callee.name };
}

/** They arrive in r1 to r5. */
const PARAMETERS: readonly number[] = [0, 1, 2, 3, 4];
