/**
 * Writes one function: constants, variables, memory, maps, calls, and the control flow of
 * `control-flow.ts`. It only records; the passes in `program.ts` turn the record into instructions.
 */
import { ControlFlow, type Otherwise } from "./control-flow.ts";
import { Helper } from "./helpers.ts";
import type { MapSpec } from "./image.ts";
import { MapType } from "./image.ts";
import {
  type CallTarget,
  FRAME_BASE,
  type FunctionIr,
  type Operand,
  type ParameterType,
} from "./ir.ts";
import { type Size, STACK_SIZE } from "./isa.ts";
import type { Kfunc } from "./kfuncs.ts";
import type { Layout } from "./layout.ts";
import {
  define,
  Expression,
  immediate,
  requireFits,
  requireOwn,
  type Scalar,
  Value,
} from "./value.ts";
import { Pointer } from "./view.ts";

export type { Exit, Loop, Otherwise } from "./control-flow.ts";

/** What can be called: a helper by number, a function of the kernel by name, or one of this program. */
export type Callee = Helper | Kfunc | FunctionIr;

export interface FunctionOptions {
  /** One is a pointer to the context unless said otherwise. */
  readonly parameters?: readonly ParameterType[];
  readonly global?: boolean;
}

export class FunctionBuilder extends ControlFlow {
  readonly #options: FunctionOptions;
  #stackBytes = 0;
  #keySlot: Pointer | null = null;

  constructor(name: string, options: FunctionOptions = {}) {
    super(name);
    this.#options = options;
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
      if (arg instanceof Pointer) return this.own(arg.address());
      if (arg instanceof Expression) return this.own(arg.read());
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
    return {
      name: this.name,
      parameters: this.#options.parameters ?? [{ kind: "pointer", to: null }],
      global: this.#options.global ?? false,
      ...this.written(),
      stackBytes: this.#stackBytes,
    };
  }
}

function callTarget(callee: Callee): CallTarget {
  if ("code" in callee) return { kind: "function", callee };
  const fast = callee.fast === true ? { fast: true as const } : {};
  if ("id" in callee) return { kind: "helper", id: callee.id, name: callee.name, ...fast };
  return { kind: "kfunc", name: callee.name, ...fast };
}

/** They arrive in r1 to r5. */
const PARAMETERS: readonly number[] = [0, 1, 2, 3, 4];
