/** A kernel that refuses programs, for tests of what is done then. */
import { KernelError } from "../kernel/errors.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";

/** The kernel, but that it refuses the first programs it is shown. */
export function refusing(kernel: KernelProcess, refusals: number): KernelProcess {
  let left = refusals;
  return new Proxy(kernel, {
    get(target, name) {
      if (name === "loadProgram" && left > 0) {
        left -= 1;
        return () =>
          Promise.reject(new KernelError("The verifier refuses it", { code: "PROG_LOAD" }));
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
