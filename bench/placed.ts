/**
 * A program that can be loaded anew. Where the kernel puts its code decides more than a little: one
 * placement in some ten costs every packet fifteen nanoseconds on some processors, for as long as it
 * stays. So measuring goes on with another one now and then, and a median is one over placements too.
 */
import type { BpfProgram } from "../src/kernel/programs.ts";

export class Placed {
  readonly #load: () => BpfProgram;
  #program: BpfProgram;

  /** @throws {KernelError} */
  constructor(load: () => BpfProgram) {
    this.#load = load;
    this.#program = load();
  }

  get fd(): number {
    return this.#program.fd;
  }

  get name(): string {
    return this.#program.name;
  }

  /** Before the old one goes, lest the new one gets its place. @throws {KernelError} */
  reload(): void {
    const fresh = this.#load();
    this.#program.close();
    this.#program = fresh;
  }

  close(): void {
    this.#program.close();
  }
}
