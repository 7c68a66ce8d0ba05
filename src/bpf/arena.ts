/**
 * Arenas: memory of whole pages that programs and user space share (`arenaMap`; kernel/bpf/arena.c,
 * Linux 6.9). What lies in it has one address, user space's, and may hold addresses of what else
 * lies in it. Programs access it by the low 32 bits of that, so an address is cast first
 * (`addr_space_cast`), and checked by nobody: where no page is, loads give 0 and stores do nothing.
 *
 * Pages come when user space touches them, or by `allocatePages`. A program uses one arena. Verifiers
 * take atomic operations there since Linux 6.10, loads with signs since 6.18.
 */
import type { FunctionBuilder, Otherwise } from "./function.ts";
import { type MapSpec, MapType } from "./image.ts";
import type { Register } from "./ir.ts";
import { Kfunc } from "./kfuncs.ts";
import { define, requireOwn, type Scalar, type Value } from "./value.ts";
import type { Pointer } from "./view.ts";

/** The largest offset an instruction may name (BPF_MAX_VAR_OFF in kernel/bpf/verifier.c). */
const OFFSET_END = 1 << 29;
const NUMA_NO_NODE = -1;

/**
 * The byte at `offset` of an arena. Needs `arenas`.
 * @throws {TypeError} for any other map
 * @throws {RangeError} for an offset no instruction holds
 */
export function arenaPointer(f: FunctionBuilder, map: MapSpec, offset = 0): Pointer {
  requireArena(map);
  if (!Number.isInteger(offset) || offset < 0 || offset >= OFFSET_END) {
    throw new RangeError(
      `Cannot address byte ${offset} of arena "${map.name}": ${OFFSET_END - 1} is the furthest, add a value`,
    );
  }
  const first = define(f, 8, (to) => ({
    op: "wide",
    to,
    value: { kind: "mapValue", map, offset },
  }));
  return castForProgram(f, map, first.register);
}

/** What lies at an address that user space, or a program, left in an arena. Needs `arenas`. */
export function fromUserAddress(f: FunctionBuilder, map: MapSpec, address: Value): Pointer {
  requireArena(map);
  requireOwn(f, address.emitter);
  return castForProgram(f, map, address.register);
}

/** The address of what lies at `pointer`, for user space and for `fromUserAddress`. Needs `arenas`. */
export function toUserAddress(f: FunctionBuilder, map: MapSpec, pointer: Pointer): Value {
  requireArena(map);
  requireOwn(f, pointer.emitter);
  const { register: from } = pointer.address();
  return define(f, 8, (to) => ({ op: "castAddress", to, from, side: "user", map }));
}

/**
 * Takes `count` pages, all zero, that lie beside each other; leaves by `otherwise` when there are not
 * so many. Up to Linux 6.18 only in programs that may sleep (`syscall.ts`). Needs `arenas`.
 */
export function allocatePages(
  f: FunctionBuilder,
  map: MapSpec,
  count: Scalar,
  otherwise: Otherwise,
): Pointer {
  requireArena(map);
  const anywhere = 0;
  const address = f.call(Kfunc.arenaAllocPages, f.map(map), anywhere, count, NUMA_NO_NODE, 0);
  f.require(address.ne(0), otherwise);
  return castForProgram(f, map, address.register);
}

/** Gives `count` pages from `first` on back, where programs may sleep as well. */
export function freePages(f: FunctionBuilder, map: MapSpec, first: Pointer, count: Scalar): void {
  requireArena(map);
  f.call(Kfunc.arenaFreePages, f.map(map), first, count);
}

const castForProgram = (f: FunctionBuilder, map: MapSpec, from: Register): Pointer =>
  f.pointer(define(f, 8, (to) => ({ op: "castAddress", to, from, side: "program", map })));

function requireArena(map: MapSpec): void {
  if (map.type !== MapType.BPF_MAP_TYPE_ARENA) {
    throw new TypeError(`Cannot use addresses in map "${map.name}": it is no arena`);
  }
}
