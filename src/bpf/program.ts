/**
 * A program as written, and the image compiled from it. The pipeline, a pass a file, for each function:
 *
 *     function.ts  →  lower.ts  →  optimise.ts  →  allocate.ts  →  encode.ts
 *     (records)       (target)     (does less)     (r0 to r9)      (instructions)
 *
 * and then `link.ts`: functions one after the other, with BTF (`btf.ts`), as a `ProgramImage`.
 */
import { allocate } from "./allocate.ts";
import { encode } from "./encode.ts";
import type { ProgramImage, ProgramType } from "./image.ts";
import type { FunctionIr, IrInstruction } from "./ir.ts";
import type { Layout } from "./layout.ts";
import { type CompiledFunction, link } from "./link.ts";
import { lower } from "./lower.ts";
import { optimise, withoutUnreachable } from "./optimise.ts";
import { OLDEST_TARGET, type Target } from "./target.ts";

export interface Program {
  readonly name: string;
  readonly type: ProgramType;
  readonly function: FunctionIr;
  /** What the first parameter points to. */
  readonly context: Layout;
}

export interface CompileOptions {
  /** The kernel it is for; the oldest supported when not given. */
  readonly target?: Target;
  /** Fewer registers than ten, to force spilling in tests. */
  readonly registersMax?: number;
  /** `false` keeps what is reached but does nothing, to test that leaving it out changes nothing. */
  readonly optimise?: boolean;
}

const NAME_LENGTH_MAX = 15;

/** @throws {RangeError} for a name the kernel would cut */
export function programOf(program: Program): Program {
  requireName("program", program.name);
  return program;
}

/** @throws {RangeError} for a name the kernel would cut or refuse */
export function requireName(what: string, name: string): void {
  if (name.length > NAME_LENGTH_MAX || !/^[A-Za-z_]\w*$/.test(name)) {
    throw new RangeError(
      `Cannot build ${what} "${name}": names have 1 to ${NAME_LENGTH_MAX} letters, digits and underscores, a digit not first`,
    );
  }
}

/**
 * Compiles a program to what a kernel takes. Pure: the same program gives the same image.
 * @throws {TargetError} for what the target has not
 * @throws {RangeError} for more stack than there is, or a jump too far
 */
export function compile(program: Program, options: CompileOptions = {}): ProgramImage {
  const { target = OLDEST_TARGET } = options;
  const functions = new Set([program.function]);
  const compiled: CompiledFunction[] = [];
  // A set visits what is added while it is walked.
  for (const ir of functions) {
    const lowered = lower(ir.code, ir.registerCount, target);
    const { code, registerCount } =
      options.optimise === false
        ? { ...lowered, code: withoutUnreachable(lowered.code) }
        : optimise(lowered);
    const allocation = allocate({ ...ir, code, registerCount }, options);
    compiled.push({ ir, encoded: encode(allocation, target) });
    for (const callee of calleesOf(code)) functions.add(callee);
  }
  return link(program, compiled);
}

/** The functions that are still called or named when all is optimised: the verifier refuses others. */
function calleesOf(code: readonly IrInstruction[]): readonly FunctionIr[] {
  return code.flatMap(({ operation }) => {
    const named =
      operation.op === "call" ? operation.target : operation.op === "wide" ? operation.value : null;
    return named?.kind === "function" ? [named.callee] : [];
  });
}
