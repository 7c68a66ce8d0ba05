/** Functions of a program besides its first: called by it, by each other, or by a helper. */
import { FunctionBuilder } from "./function.ts";
import type { FunctionIr, ParameterType } from "./ir.ts";
import type { Layout } from "./layout.ts";
import { requireName } from "./program.ts";
import type { Value } from "./value.ts";

export const number32: ParameterType = { kind: "number", size: 4 };
export const number64: ParameterType = { kind: "number", size: 8 };
/** An address; of what, the verifier needs to know for global functions only. */
export const pointerTo = (to: Layout | null): ParameterType => ({ kind: "pointer", to });

/**
 * Builds a function of at most five parameters that returns a number of 64 bits. A global one is
 * verified once, for whatever it may be called with; one that is not, at each call.
 *
 * ```ts
 * const square = subprogram("square", [number64], (f, x) => f.return(x.mul(x)));
 * const nine = xdp("nine", (p) => p.return(p.call(square, 3)));
 * ```
 *
 * @throws {RangeError} for a name the kernel would refuse, or a sixth parameter
 * @throws {TypeError} for a global function that takes an address of anything
 */
export function subprogram<const P extends readonly ParameterType[]>(
  name: string,
  parameters: P,
  body: (f: FunctionBuilder, ...values: { readonly [K in keyof P]: Value }) => void,
  options: { readonly global?: boolean } = {},
): FunctionIr {
  requireName("function", name);
  const global = options.global ?? false;
  if (global && parameters.some((type) => type.kind === "pointer" && type.to === null)) {
    throw new TypeError(
      `Cannot build global function "${name}": the verifier must know what its addresses point to`,
    );
  }
  const f = new FunctionBuilder(name, { parameters, global });
  // They are all there at once, and nothing may be written before they are taken.
  const arrived = parameters.map((_, index) => f.parameter(index));
  const values = arrived.map((value, index) => {
    const type = parameters[index];
    return type?.kind === "number" && type.size === 4 ? value.u32() : value;
  });
  body(f, ...(values as { [K in keyof P]: Value }));
  return f.finish();
}
