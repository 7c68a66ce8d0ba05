/**
 * The states of backends, and the file that keeps them over a restart: a backend somebody took out
 * stays out, whatever ended the daemon. Gone after a reboot.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type BackendState, backendStates, type Pool } from "../model/model.ts";

export class BackendStates {
  readonly #file: string;
  readonly #states: ReadonlyMap<string, Map<string, BackendState>>;

  /** Backends are up but for those that `file` says otherwise of; what it says of others is forgotten. */
  constructor(pools: readonly Pool[], file: string) {
    this.#file = file;
    const kept = readKept(file);
    this.#states = new Map(
      pools.map(({ name, backends }) => [
        name,
        new Map(
          backends.map((backend) => [backend.name, kept.get(`${name}/${backend.name}`) ?? "up"]),
        ),
      ]),
    );
  }

  /** Of a pool, by backend, in the order of the configuration; `undefined` when there is no such pool. */
  of(pool: string): ReadonlyMap<string, BackendState> | undefined {
    return this.#states.get(pool);
  }

  /** Backends that are not up, as `pool/backend`. */
  out(): readonly string[] {
    return this.#entries().map(([name]) => name);
  }

  /**
   * Sets a state, and keeps it before it returns.
   * @throws {Error} when it cannot be kept; it is as before then
   */
  set(pool: string, backend: string, state: BackendState): void {
    const states = this.#states.get(pool);
    const before = states?.get(backend);
    if (states === undefined || before === undefined) return;
    states.set(backend, state);
    try {
      this.#keep();
    } catch (error) {
      states.set(backend, before);
      throw error;
    }
  }

  #keep(): void {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o755 });
    const next = `${this.#file}.new`;
    writeFileSync(next, `${JSON.stringify(Object.fromEntries(this.#entries()), null, 2)}\n`);
    renameSync(next, this.#file);
  }

  #entries(): readonly (readonly [string, BackendState])[] {
    return [...this.#states].flatMap(([pool, states]) =>
      [...states].flatMap(([backend, state]) =>
        state === "up" ? [] : [[`${pool}/${backend}`, state] as const],
      ),
    );
  }
}

function readKept(file: string): ReadonlyMap<string, BackendState> {
  let kept: unknown;
  try {
    kept = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    // None yet. One that cannot be read is no reason not to forward.
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) {
      return new Map();
    }
    throw error;
  }
  if (typeof kept !== "object" || kept === null) return new Map();
  return new Map(
    Object.entries(kept).flatMap(([name, state]) => {
      const known = backendStates.find((candidate) => candidate === state);
      return known === undefined ? [] : [[name, known] as const];
    }),
  );
}
