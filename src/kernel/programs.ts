/**
 * Programs: a `ProgramImage` becomes a loaded program. BTF first, then the instructions with the
 * file descriptors of their maps written in; when the verifier says no, it is asked again for its
 * log, and the error says which line of TypeScript it did not like.
 */
import { explainVerifierLog, formatExplanation } from "../bpf/verifier-log.ts";
import type { MapSpec, ProgramImage } from "../bpf/image.ts";
import { ProgramType } from "../bpf/image.ts";
import { BpfAttribute, bpf, BpfCommand, objectInfo, textAt } from "./bpf-syscall.ts";
import { loadBtf } from "./btf.ts";
import { errnoOf, KernelError } from "./errors.ts";
import { kernelBtfIds } from "./kernel-btf.ts";
import { addressOf, call, cString, memory, offHeap } from "./libc.ts";
import { notPermitted } from "./not-permitted.ts";

/** Turns a map of the image into the file descriptor of the map that stands for it. */
export type MapResolver = (spec: MapSpec) => number;

export interface LoadOptions {
  /** The XDP program takes packets of several fragments: MTUs above a page, LRO (BPF_F_XDP_HAS_FRAGS). */
  readonly fragments?: boolean;
}

export class BpfProgram {
  readonly fd: number;
  readonly name: string;
  #open = true;

  /** Takes over `fd`. */
  constructor(fd: number, name: string) {
    this.fd = fd;
    this.name = name;
  }

  /** @throws {KernelError} PROG_INFO */
  info(): ProgramInfo {
    return programInfo(this.fd);
  }

  /** Closes the file descriptor. The program lives on while a pin or a link holds it. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    call("close", this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const BPF_F_SLEEPABLE = 1 << 4;
const BPF_F_XDP_HAS_FRAGS = 1 << 5;
const LOG_BYTES = 16 << 20;
// The verifier gives up with EAGAIN when a signal is pending; libbpf tries as often.
const ATTEMPTS = 5;

/**
 * Loads a program. Blocks for as long as the verifier takes.
 * @throws {KernelError} PROG_LOAD (with `log` and `explanation` when the verifier spoke), BTF_LOAD, NOT_PERMITTED
 */
export function loadProgram(
  image: ProgramImage,
  mapFd: MapResolver,
  options: LoadOptions = {},
): BpfProgram {
  const btf = image.btf.length > 0 ? loadBtf(image.btf, image.name) : null;
  try {
    return new BpfProgram(loadWith(image, mapFd, options, btf), image.name);
  } finally {
    // The program holds a reference of its own.
    if (btf !== null) call("close", btf);
  }
}

function loadWith(
  image: ProgramImage,
  mapFd: MapResolver,
  options: LoadOptions,
  btf: number | null,
): number {
  const instructions = offHeap(image.instructions);
  const license = cString(image.license);
  const funcInfo = offHeap(image.funcInfo);
  const lineInfo = offHeap(image.lineInfo);
  relocate(instructions, image, mapFd);
  nameKernelSymbols(instructions, image);

  const attribute = new BpfAttribute(152)
    .u32(0, image.type)
    .u32(4, instructions.length / 8)
    .pointer(8, instructions)
    .pointer(16, license)
    .u32(44, flagsOf(image, options))
    .name(48, image.name);
  if (btf !== null) {
    attribute.u32(72, btf);
    attribute
      .u32(76, 8)
      .pointer(80, funcInfo)
      .u32(88, funcInfo.length / 8);
    attribute
      .u32(92, 16)
      .pointer(96, lineInfo)
      .u32(104, lineInfo.length / 16);
  }

  let refusal: unknown;
  try {
    return submit(attribute);
  } catch (error) {
    refusal = error;
  }
  // Only now, since a log costs time and memory (include/linux/bpf_verifier.h, BPF_LOG_LEVEL1).
  const log = memory(LOG_BYTES);
  attribute.u32(24, 1).u32(28, LOG_BYTES).pointer(32, log);
  try {
    return submit(attribute);
  } catch (error) {
    errnoOf(error);
  }
  throw rejection(image, refusal, textAt(log, 0, LOG_BYTES));
}

/** Programs of type SYSCALL are sleepable or nothing (kernel/bpf/verifier.c, check_attach_btf_id()). */
const flagsOf = ({ type }: ProgramImage, { fragments }: LoadOptions): number =>
  (type === ProgramType.BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0) |
  (fragments === true ? BPF_F_XDP_HAS_FRAGS : 0);

function submit(attribute: BpfAttribute): number {
  for (let attempt = 1; ; attempt++) {
    try {
      return bpf(BpfCommand.BPF_PROG_LOAD, attribute);
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN" || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Writes the file descriptor of each map into the immediate of its `ld_imm64`. */
function relocate(instructions: Uint8Array, image: ProgramImage, mapFd: MapResolver): void {
  const view = new DataView(instructions.buffer, instructions.byteOffset, instructions.byteLength);
  for (const { instruction, map } of image.maps) {
    view.setInt32(instruction * 8 + 4, mapFd(map), true);
  }
}

/** Writes the BTF id of each function or variable of the kernel that the image names. */
function nameKernelSymbols(instructions: Uint8Array, image: ProgramImage): void {
  const { symbols = [] } = image;
  const view = new DataView(instructions.buffer, instructions.byteOffset, instructions.byteLength);
  for (const kind of ["function", "variable"] as const) {
    const wanted = symbols.filter((symbol) => symbol.kind === kind);
    if (wanted.length === 0) continue;
    const ids = kernelBtfIds(kind, new Set(wanted.map(({ name }) => name)));
    for (const { instruction, name } of wanted) {
      const id = ids.get(name);
      if (id === undefined) {
        throw new KernelError(
          `Cannot load program "${image.name}": this kernel has no ${kind} "${name}" for programs`,
          { code: "PROG_LOAD" },
        );
      }
      view.setInt32(instruction * 8 + 4, id, true);
    }
  }
}

function rejection(image: ProgramImage, cause: unknown, log: string): KernelError {
  const errno = errnoOf(cause);
  const action = `load program "${image.name}"`;
  if (log.trim() === "") {
    if (errno === "EPERM") return notPermitted(action, cause);
    const why =
      errno === "E2BIG"
        ? `E2BIG, ${image.instructions.length / 8} instructions are more than the kernel takes`
        : `${errno}, and the verifier gave no reason`;
    return new KernelError(`Cannot ${action}: ${why}`, { code: "PROG_LOAD" }, { cause });
  }
  const explanation = explainVerifierLog(log, image.lines);
  return new KernelError(
    `Cannot ${action}: the verifier rejects it (${errno})\n${formatExplanation(explanation)}`,
    { code: "PROG_LOAD", log, explanation },
    { cause },
  );
}

export interface ProgramInfo {
  readonly id: number;
  readonly type: number;
  readonly name: string;
  /** SHA-1 over the instructions, 8 bytes in hexadecimal: equal tags are equal programs. */
  readonly tag: string;
  readonly xlatedBytes: number;
  readonly jitedBytes: number;
  /** Instructions the verifier walked; its limit is a million. */
  readonly verifiedInstructions: number;
  readonly mapIds: readonly number[];
  /** Both 0 unless the sysctl kernel.bpf_stats_enabled is set. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
}

/**
 * Reads `struct bpf_prog_info` of a program.
 * @throws {KernelError} PROG_INFO
 */
export function programInfo(fd: number): ProgramInfo {
  const info = memory(232);
  const view = new DataView(info.buffer);
  try {
    objectInfo(fd, info);
    const mapCount = view.getUint32(52, true);
    const mapIds = memory(4 * mapCount);
    if (mapCount > 0) {
      // Ask for the map ids only: other arrays of the structure would be filled too.
      info.fill(0);
      view.setUint32(52, mapCount, true);
      view.setBigUint64(56, addressOf(mapIds), true);
      objectInfo(fd, info);
    }
    return {
      type: view.getUint32(0, true),
      id: view.getUint32(4, true),
      tag: Buffer.from(info.subarray(8, 16)).toString("hex"),
      jitedBytes: view.getUint32(16, true),
      xlatedBytes: view.getUint32(20, true),
      mapIds: Array.from(new Uint32Array(mapIds.buffer, 0, mapCount)),
      name: textAt(info, 64, 16),
      runTimeNs: view.getBigUint64(192, true),
      runCount: view.getBigUint64(200, true),
      verifiedInstructions: view.getUint32(216, true),
    };
  } catch (cause) {
    throw new KernelError(
      `Cannot read what program of file descriptor ${fd} is: ${errnoOf(cause)}`,
      { code: "PROG_INFO" },
      { cause },
    );
  }
}
