/**
 * Records the control flow of one function: branches, loops, guards and where they lead. It is
 * structured. A guard reads as one (`require`), and what happens when it fails is an `Exit`: a
 * verdict, or a block written once, placed after everything else and shared by all who leave through
 * it, so that the straight path stays straight.
 */
import {
  endsFlow,
  type IrInstruction,
  type Label,
  type Operand,
  type Operation,
  type Register,
} from "./ir.ts";
import { INVERSE_JUMP, type Size } from "./isa.ts";
import { authorLocation } from "./source.ts";
import {
  type Condition,
  type Emitter,
  Expression,
  immediate,
  type Lazy,
  requireOwn,
  type Scalar,
  type Value,
  Variable,
} from "./value.ts";

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

export class ControlFlow implements Emitter {
  readonly name: string;
  readonly #code: IrInstruction[] = [];
  readonly #verdicts = new Map<number, PendingExit>();
  readonly #exits = new Map<Label, PendingExit>();
  readonly #referenced = new Set<Label>();
  #registers = 0;
  #labels = 0;
  /** Labels of loops, placed where the loop is. */
  readonly #inline = new Map<Label, Exit>();
  /** The first label inside of each scope that must be left by its end, innermost last. */
  readonly #scopes: { readonly label: Label; readonly what: string }[] = [];

  constructor(name: string) {
    this.name = name;
  }

  fresh(): Register {
    const register = this.#registers;
    this.#registers += 1;
    return register;
  }

  emit(operation: Operation): void {
    this.#code.push({ operation, source: authorLocation() });
  }

  /** A variable holding `initial`. */
  variable(initial: Scalar, size: Size = 4): Variable {
    const variable = new Variable(this, this.fresh(), size);
    variable.set(initial);
    return variable;
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

  /** Runs `body`, which may leave to its own end; exits declared in it may come back there as well. */
  block(body: (end: Exit) => void): void {
    const end = this.#inlineExit();
    body(end);
    if (this.#referenced.has(end.label) || this.#flowsOn()) this.#place(end.label);
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
    this.requireNothingHeld();
    if (!(value instanceof Expression)) {
      this.emit({ op: "exit", from: immediate(this, BigInt(value), 8) });
      return;
    }
    const from = value.read();
    if (from.order === "network") {
      throw new TypeError("Cannot return a value in network order: convert it with toHost() first");
    }
    this.emit({ op: "exit", from: this.own(from) });
  }

  /** @throws {TypeError} when something is held that leaving to `label`, or ending here, would lose */
  requireNothingHeld(label: Label | null = null): void {
    const scope = this.#scopes.at(-1);
    if (scope === undefined) return;
    const inside = label !== null && this.#inline.has(label) && label >= scope.label;
    if (!inside) throw new TypeError(`Cannot leave here: ${scope.what} must be given back first`);
  }

  /** Everything recorded, exits last. @throws {Error} when its end can be reached without a return */
  protected written(): {
    readonly code: readonly IrInstruction[];
    readonly registerCount: number;
  } {
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
    return { code: this.#code, registerCount: this.#registers };
  }

  /** @throws {TypeError} for what was made in another function */
  protected own(value: Value): Operand {
    requireOwn(this, value.emitter);
    return { register: value.register };
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
    this.requireNothingHeld(exit.label);
    this.#referenced.add(exit.label);
    return exit.label;
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
