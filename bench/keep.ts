/** Leaves a director behind for other tools to time: pinned, and filled as it was measured. */
import type { BenchDirector } from "./director.ts";

export interface Kept {
  readonly folder: string;
  /** Names in the folder. */
  readonly program: string;
  readonly maps: readonly string[];
  /** A frame the program forwards, in hexadecimal. */
  readonly packet: string;
}

/** @throws {KernelError} NO_BPFFS, PIN */
export function keep(director: BenchDirector, frame: Uint8Array, folder: string): Kept {
  director.keep(folder);
  return {
    folder,
    program: director.program.name,
    maps: director.mapNames(),
    packet: Buffer.from(frame).toString("hex"),
  };
}
