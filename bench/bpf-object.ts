/**
 * Reads what a C compiler makes of one BPF program: an ELF64 relocatable file (System V ABI, "Object
 * files") with the program in the section `xdp`. The only relocations it knows are loads of the
 * addresses of symbols that are declared and not defined (R_BPF_64_64: Documentation/bpf/llvm_reloc.rst
 * in the kernel): each becomes the map of that name.
 */
import { type MapSpec, MapType, type ProgramImage, ProgramType } from "../src/bpf/image.ts";
import { INSTRUCTION_SIZE, Pseudo } from "../src/bpf/isa.ts";

export interface BpfObject {
  /** As they stand in the file, 8 bytes each. */
  readonly instructions: Uint8Array;
  readonly references: readonly Reference[];
}

/** A two-slot load of a symbol's address. */
export interface Reference {
  /** Index of the first slot. */
  readonly instruction: number;
  readonly symbol: string;
  /** Bytes behind the symbol. */
  readonly addend: number;
}

const PROGRAM_SECTION = "xdp";

/** @throws {Error} for anything but an object file of one program that refers to undefined symbols only */
export function readBpfObject(file: Uint8Array): BpfObject {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const sections = sectionsOf(view);
  const program = sections.findIndex(({ name }) => name === PROGRAM_SECTION);
  const own = sections[program];
  if (own === undefined) throw new Error(`The object file has no section "${PROGRAM_SECTION}"`);
  const instructions = Uint8Array.from(file.subarray(own.offset, own.offset + own.size));
  const references = sections
    .filter(({ type, info }) => type === SHT_REL && info === program)
    .flatMap((section) => referencesOf(view, sections, section));
  const code = new DataView(instructions.buffer);
  return {
    instructions,
    references: references.map(({ offset, symbol }) => ({
      instruction: offset / INSTRUCTION_SIZE,
      symbol,
      addend: code.getInt32(offset + 4, true),
    })),
  };
}

/**
 * A program that can be loaded. Arrays of one entry are addressed directly, as the builder does;
 * other maps are handed to helpers.
 * @throws {Error} when the object names a map that is not among `maps`
 */
export function imageOfObject(
  name: string,
  { instructions, references }: BpfObject,
  maps: readonly MapSpec[],
): ProgramImage {
  const linked = Uint8Array.from(instructions);
  const view = new DataView(linked.buffer);
  const relocations = references.map(({ instruction, symbol, addend }) => {
    const map = maps.find((spec) => spec.name === symbol);
    if (map === undefined) throw new Error(`The object file refers to "${symbol}": no such map`);
    const isDirect = map.type === MapType.BPF_MAP_TYPE_ARRAY && map.maxEntries === 1;
    const at = instruction * INSTRUCTION_SIZE;
    const registers = view.getUint8(at + 1) & 0x0f;
    view.setUint8(at + 1, registers | ((isDirect ? Pseudo.MAP_VALUE : Pseudo.MAP_FD) << 4));
    view.setInt32(at + INSTRUCTION_SIZE + 4, isDirect ? addend : 0, true);
    return { instruction, map };
  });
  const nothing = new Uint8Array();
  return {
    name,
    type: ProgramType.BPF_PROG_TYPE_XDP,
    license: "Dual MIT/GPL",
    instructions: linked,
    maps: relocations,
    btf: nothing,
    funcInfo: nothing,
    lineInfo: nothing,
    lines: [],
  };
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  /** Index of another section; which one depends on the type. */
  readonly link: number;
  readonly info: number;
}

const EM_BPF = 247;
const SHT_REL = 9;
const SECTION_HEADER = 64;
const SYMBOL = 24;
const RELOCATION = 16;
const R_BPF_64_64 = 1;

function sectionsOf(view: DataView): readonly Section[] {
  const isElf = view.byteLength >= 64 && view.getUint32(0) === 0x7f454c46;
  // Class 2 is 64 bits, data 1 little endian.
  if (!isElf || view.getUint16(4) !== 0x0201 || view.getUint16(18, true) !== EM_BPF) {
    throw new Error("This is no ELF64 object file for little-endian BPF");
  }
  const start = offsetAt(view, 40);
  const headers = Array.from({ length: view.getUint16(60, true) }, (_, index) => {
    const at = start + index * SECTION_HEADER;
    return {
      nameAt: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      offset: offsetAt(view, at + 24),
      size: offsetAt(view, at + 32),
      link: view.getUint32(at + 40, true),
      info: view.getUint32(at + 44, true),
    };
  });
  const names = headers[view.getUint16(62, true)];
  if (names === undefined) throw new Error("The object file has no names of sections");
  return headers.map(({ nameAt, ...rest }) => ({
    ...rest,
    name: textAt(view, names.offset + nameAt),
  }));
}

function referencesOf(
  view: DataView,
  sections: readonly Section[],
  { offset: start, size, link }: Section,
): readonly { readonly offset: number; readonly symbol: string }[] {
  const symbols = sections[link];
  const names = symbols && sections[symbols.link];
  if (symbols === undefined || names === undefined) {
    throw new Error("The object file relocates without symbols");
  }
  return Array.from({ length: size / RELOCATION }, (_, index) => {
    const at = start + index * RELOCATION;
    const type = view.getUint32(at + 8, true);
    const symbolAt = symbols.offset + view.getUint32(at + 12, true) * SYMBOL;
    const symbol = textAt(view, names.offset + view.getUint32(symbolAt, true));
    const isDefined = view.getUint16(symbolAt + 6, true) !== 0;
    if (type !== R_BPF_64_64 || isDefined) {
      throw new Error(
        `The object file refers to "${symbol}" by relocation ${type}: only loads of undefined symbols are known`,
      );
    }
    return { offset: offsetAt(view, at), symbol };
  });
}

const offsetAt = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

function textAt(view: DataView, at: number): string {
  let text = "";
  for (let index = at; view.getUint8(index) !== 0; index += 1) {
    text += String.fromCodePoint(view.getUint8(index));
  }
  return text;
}
