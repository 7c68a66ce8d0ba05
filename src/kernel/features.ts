/**
 * What this kernel has beyond the oldest one supported. Asked of the kernel by loading tiny programs,
 * since distributions backport; by version only where nothing can be seen from outside.
 */
import { release } from "node:os";
import { Helper } from "../bpf/helpers.ts";
import type { ProgramImage } from "../bpf/image.ts";
import { ProgramType } from "../bpf/image.ts";
import type { Instruction } from "../bpf/isa.ts";
import {
  ADDRESS_CAST,
  AddressCast,
  Alu,
  assembleInstructions,
  Atomic,
  CallKind,
  Class,
  FRAME,
  Jump,
  Mode,
  Pseudo,
  SizeBits,
  Source,
} from "../bpf/isa.ts";
import { arenaMap } from "../bpf/maps.ts";
import type { Target } from "../bpf/target.ts";
import { BpfAttribute, bpf, BpfCommand } from "./bpf-syscall.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { kernelBtfIds } from "./kernel-btf.ts";
import type { KernelVersion } from "./kernel-version.ts";
import { isAtLeast, parseKernelVersion } from "./kernel-version.ts";
import { AttachType } from "./links.ts";
import { type BpfMap, createMap } from "./maps.ts";
import { notPermitted } from "./not-permitted.ts";
import { loadProgram, type MapResolver } from "./programs.ts";

export interface KernelFeatures {
  readonly release: string;
  readonly version: KernelVersion;
  /** Instruction set v4: sign-extending moves and loads, plain byte swaps, 32-bit gotos (6.6). */
  readonly cpuV4: boolean;
  /** What programs may be compiled for: `compile(program, { target })`. */
  readonly target: Target;
  /** TC programs attach by link (6.6, CONFIG_NET_XGRESS). */
  readonly tcx: boolean;
  /** Look-ups in per-CPU arrays are inlined instead of called (6.10). */
  readonly perCpuArrayInlined: boolean;
}

/**
 * Probes the running kernel.
 * @throws {KernelError} NOT_PERMITTED
 */
export function probeFeatures(): KernelFeatures {
  const version = parseKernelVersion(release());
  const target = probeTarget();
  return {
    release: release(),
    version,
    cpuV4: target.cpuV4,
    target,
    tcx: hasTcx(),
    // The inlining leaves no trace a program could see: percpu_array_map_gen_lookup() in
    // kernel/bpf/arraymap.c, for x86-64 and arm64 since 6.10.
    perCpuArrayInlined: isAtLeast(version, 6, 10),
  };
}

/**
 * Asks the running kernel what programs for it may use.
 * @throws {KernelError} NOT_PERMITTED
 */
export function probeTarget(): Target {
  return {
    cpuV4: loads(CPU_V4),
    openCodedIterators: kernelBtfIds("function", new Set([ITERATOR])).has(ITERATOR),
    mayGoto: loads(MAY_GOTO),
    arenas: hasArenas(),
    fastCalls: hasFastCalls(),
    acquireRelease: loads(ACQUIRE_RELEASE),
  };
}

/**
 * Whether programs of `type` may call the helper `id` (`enum bpf_func_id`).
 * @throws {KernelError} NOT_PERMITTED
 */
export function hasHelper(type: ProgramType, id: number): boolean {
  const code = Class.JMP | Jump.call;
  const call = { code, dst: 0, src: CallKind.HELPER, offset: 0, imm: id };
  try {
    loadProgram(probe(type, [call, EXIT]), noMaps).close();
    return true;
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== "PROG_LOAD") throw error;
    // Other complaints are about its arguments, which the verifier looks at only when it may be called.
    return !/invalid func |unknown func |program of this type cannot use helper /.test(
      error.log ?? "",
    );
  }
}

const EXIT: Instruction = { code: Class.JMP | Jump.exit, dst: 0, src: 0, offset: 0, imm: 0 };

/** One instruction of each kind that v4 adds (RFC 9669, conformance of the Linux 6.6 series). */
const CPU_V4: readonly Instruction[] = [
  { code: Class.ALU64 | Alu.mov, dst: 1, src: 0, offset: 0, imm: 1 },
  // r0 = (s8) r1
  { code: Class.ALU64 | Alu.mov | Source.REG, dst: 0, src: 1, offset: 8, imm: 0 },
  // r0 = bswap16 r0
  { code: Class.ALU64 | Alu.end, dst: 0, src: 0, offset: 0, imm: 16 },
  { code: Class.STX | Mode.MEM | SizeBits[8], dst: FRAME, src: 0, offset: -8, imm: 0 },
  // r0 = *(s8 *)(r10 - 8)
  { code: Class.LDX | Mode.MEMSX | SizeBits[1], dst: 0, src: FRAME, offset: -8, imm: 0 },
  // r0 s/= 1
  { code: Class.ALU64 | Alu.div, dst: 0, src: 0, offset: 1, imm: 1 },
  // gotol +0
  { code: Class.JMP32 | Jump.ja, dst: 0, src: 0, offset: 0, imm: 0 },
  EXIT,
];

const ITERATOR = "bpf_iter_num_next";

const ATOMIC_8 = Class.STX | Mode.ATOMIC | SizeBits[8];
const R0_IS_0: Instruction = { code: Class.ALU64 | Alu.mov, dst: 0, src: 0, offset: 0, imm: 0 };

const MAY_GOTO: readonly Instruction[] = [
  R0_IS_0,
  { code: Class.JMP | Jump.cond, dst: 0, src: 0, offset: 0, imm: 0 },
  EXIT,
];

const ACQUIRE_RELEASE: readonly Instruction[] = [
  R0_IS_0,
  { code: ATOMIC_8, dst: FRAME, src: 0, offset: -8, imm: Atomic.storeRelease },
  { code: ATOMIC_8, dst: 0, src: FRAME, offset: -8, imm: Atomic.loadAcquire },
  EXIT,
];

const GET_CPU: Instruction = {
  code: Class.JMP | Jump.call,
  dst: 0,
  src: CallKind.HELPER,
  offset: 0,
  imm: Helper.getSmpProcessorId.id,
};
/** r1 kept across it: kernels that put the call in place take the pair out. */
const FAST_CALL: readonly Instruction[] = [
  { code: Class.STX | Mode.MEM | SizeBits[8], dst: FRAME, src: 1, offset: -8, imm: 0 },
  GET_CPU,
  { code: Class.LDX | Mode.MEM | SizeBits[8], dst: 1, src: FRAME, offset: -8, imm: 0 },
  EXIT,
];

/** Instructions are counted after the verifier's rewriting. */
function hasFastCalls(): boolean {
  const [kept, plain] = [FAST_CALL, [GET_CPU, EXIT]].map((instructions) => {
    using program = loadProgram(probe(ProgramType.BPF_PROG_TYPE_XDP, instructions), noMaps);
    return program.info().xlatedBytes;
  });
  return kept === plain;
}

const ARENA_PROBE = arenaMap("carom_probe", 1);
/** r1 is the arena's first byte as user space sees it, then as programs do. */
const ARENA: readonly Instruction[] = [
  { code: Class.LD | Mode.IMM | SizeBits[8], dst: 1, src: Pseudo.MAP_VALUE, offset: 0, imm: 0 },
  { code: 0, dst: 0, src: 0, offset: 0, imm: 0 },
  {
    code: Class.ALU64 | Alu.mov | Source.REG,
    dst: 1,
    src: 1,
    offset: ADDRESS_CAST,
    imm: AddressCast.program,
  },
  R0_IS_0,
  EXIT,
];

/** Where the processor's JIT compiler has none, no such map is made (bpf_jit_supports_arena()). */
function hasArenas(): boolean {
  let map: BpfMap;
  try {
    map = createMap(ARENA_PROBE);
  } catch (error) {
    if (error instanceof KernelError && error.code === "MAP_CREATE") return false;
    throw error;
  }
  using owned = map;
  const mapping = owned.mmap();
  try {
    const image = probe(ProgramType.BPF_PROG_TYPE_XDP, ARENA);
    return loadsImage({ ...image, maps: [{ instruction: 0, map: ARENA_PROBE }] }, () => owned.fd);
  } finally {
    mapping.unmap();
  }
}

const loads = (instructions: readonly Instruction[]): boolean =>
  loadsImage(probe(ProgramType.BPF_PROG_TYPE_XDP, instructions), noMaps);

function loadsImage(image: ProgramImage, mapFd: MapResolver): boolean {
  try {
    loadProgram(image, mapFd).close();
    return true;
  } catch (error) {
    if (error instanceof KernelError && error.code === "PROG_LOAD") return false;
    throw error;
  }
}

const probe = (type: ProgramType, instructions: readonly Instruction[]): ProgramImage => ({
  name: "carom_probe",
  type,
  license: "Dual MIT/GPL",
  instructions: assembleInstructions(instructions),
  maps: [],
  btf: new Uint8Array(),
  funcInfo: new Uint8Array(),
  lineInfo: new Uint8Array(),
  lines: [],
});

const noMaps = (): never => {
  throw new Error("A probe has no maps");
};

// `lo` in every network namespace.
const LOOPBACK_IFINDEX = 1;

/** Asks what is attached to `lo`: kernels without TCX know no such attach type (EINVAL). */
function hasTcx(): boolean {
  const attribute = new BpfAttribute(64)
    .u32(0, LOOPBACK_IFINDEX)
    .u32(4, AttachType.BPF_TCX_INGRESS);
  try {
    bpf(BpfCommand.BPF_PROG_QUERY, attribute);
    return true;
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "EPERM") throw notPermitted("ask the kernel for TCX", cause);
    // ENOENT: nothing was ever attached there (kernel/bpf/mprog.c).
    return errno === "ENOENT";
  }
}
