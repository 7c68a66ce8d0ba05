/** What the tests against the kernel share: when to skip, a private machine, tiny programs. */
import { execFileSync } from "node:child_process";
import type { MapSpec, ProgramImage } from "../bpf/image.ts";
import { MapType, ProgramType } from "../bpf/image.ts";
import type { Instruction } from "../bpf/isa.ts";
import { Alu, assembleInstructions, CallKind, Class, Jump } from "../bpf/isa.ts";
import { BPF_CAPABILITIES } from "./capabilities.ts";
import { isolate } from "./isolation-fixture.ts";
import { readMachineFacts, unmetRequirement } from "./requirements.ts";

/** Why tests against the kernel cannot run here, or false: the `skip` of node:test. */
export const skip: string | false =
  unmetRequirement(
    "test against the kernel",
    [...BPF_CAPABILITIES, "CAP_SYS_ADMIN"],
    readMachineFacts(),
  ) ?? false;

// Namespaces and a BPF file system for this test file alone: they go when its process ends.
if (skip === false) isolate();

const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });

/** Makes the veth pair `name`, `name`p, both up, and returns the ifindex of `name`. */
export function makeVeth(name: string): number {
  ip("link", "add", name, "type", "veth", "peer", "name", `${name}p`);
  for (const end of [name, `${name}p`]) ip("link", "set", end, "up");
  return Number.parseInt(ip("-o", "link", "show", "dev", name), 10);
}

export const deleteDevice = (name: string): void => {
  ip("link", "del", name);
};

export const EXIT: Instruction = { code: Class.JMP | Jump.exit, dst: 0, src: 0, offset: 0, imm: 0 };

export const moveImm = (dst: number, imm: number): Instruction => ({
  code: Class.ALU64 | Alu.mov,
  dst,
  src: 0,
  offset: 0,
  imm,
});

export const callHelper = (id: number): Instruction => ({
  code: Class.JMP | Jump.call,
  dst: 0,
  src: CallKind.HELPER,
  offset: 0,
  imm: id,
});

/** A program without BTF. */
export const imageOf = (
  instructions: readonly Instruction[],
  rest: Partial<ProgramImage> = {},
): ProgramImage => ({
  name: "carom_test",
  type: ProgramType.BPF_PROG_TYPE_XDP,
  license: "GPL",
  instructions: assembleInstructions(instructions),
  maps: [],
  btf: new Uint8Array(),
  funcInfo: new Uint8Array(),
  lineInfo: new Uint8Array(),
  lines: [],
  ...rest,
});

/** An XDP program that returns `value` for every packet. */
export const verdict = (value: number, name = "carom_test"): ProgramImage =>
  imageOf([moveImm(0, value), EXIT], { name });

export const mapSpec = (rest: Partial<MapSpec> = {}): MapSpec => ({
  name: "carom_map",
  type: MapType.BPF_MAP_TYPE_HASH,
  keySize: 4,
  valueSize: 8,
  maxEntries: 16,
  flags: 0,
  value: null,
  ...rest,
});

/** `value` as four bytes in host order. */
export const key = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

/** `values` as eight bytes each in host order. */
export const u64s = (...values: bigint[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from(values).buffer);

/** For `assert.throws`: a `KernelError` of `code` whose message matches. */
export const fault =
  (code: string, message: RegExp) =>
  (error: unknown): boolean =>
    error instanceof Error &&
    error.name === "KernelError" &&
    (error as { readonly code?: unknown }).code === code &&
    message.test(error.message);
