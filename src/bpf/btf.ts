/** Writes BTF: the types of map values and functions, and the names behind line info (Documentation/bpf/btf.rst). */
import type { Field, KernelField, Layout } from "./layout.ts";

const Kind = { INT: 1, PTR: 2, ARRAY: 3, STRUCT: 4, FUNC: 12, FUNC_PROTO: 13 } as const;
const MAGIC = 0xeb9f;
const HEADER_SIZE = 24;
const SIGNED = 1 << 24;

/** Linkage of functions: static ones are verified where they are called, global ones on their own. */
export const Linkage = { STATIC: 0, GLOBAL: 1 } as const;

/** Collects types; each method returns a type id. Equal types are stored once. */
export class BtfBuilder {
  readonly #words: number[] = [];
  readonly #strings: Uint8Array[] = [new Uint8Array(1)];
  readonly #stringOffsets = new Map<string, number>([["", 0]]);
  readonly #known = new Map<string, number>();
  #stringBytes = 1;
  #typeCount = 0;

  /** Offset of a string, for types and line info. */
  string(text: string): number {
    const known = this.#stringOffsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#stringBytes;
    const encoded = new TextEncoder().encode(`${text}\0`);
    this.#strings.push(encoded);
    this.#stringBytes += encoded.length;
    this.#stringOffsets.set(text, offset);
    return offset;
  }

  int(name: string, size: number, signed = false): number {
    return this.#type(name, Kind.INT, 0, size, [(signed ? SIGNED : 0) | (size * 8)]);
  }

  pointer(to: number): number {
    return this.#type("", Kind.PTR, 0, to, []);
  }

  array(element: number, count: number): number {
    return this.#type("", Kind.ARRAY, 0, 0, [element, this.int("__u32", 4), count]);
  }

  /** A struct and the types of its fields. */
  struct(layout: Layout): number {
    const members = Object.entries(layout.fields).flatMap(([key, field]) => [
      this.string(field.kind === "pad" ? "" : key),
      this.#field(field),
      (layout.offsets[key] as number) * 8,
    ]);
    return this.#type(layout.name, Kind.STRUCT, members.length / 3, layout.size, members);
  }

  functionProto(result: number, parameters: readonly { name: string; type: number }[]): number {
    const words = parameters.flatMap(({ name, type }) => [this.string(name), type]);
    return this.#type("", Kind.FUNC_PROTO, parameters.length, result, words);
  }

  func(name: string, proto: number, linkage: number): number {
    return this.#type(name, Kind.FUNC, linkage, proto, []);
  }

  /** The whole blob, for BPF_BTF_LOAD. */
  build(): Uint8Array {
    const typeBytes = this.#words.length * 4;
    const out = new Uint8Array(HEADER_SIZE + typeBytes + this.#stringBytes);
    const view = new DataView(out.buffer);
    view.setUint16(0, MAGIC, true);
    view.setUint8(2, 1);
    view.setUint32(4, HEADER_SIZE, true);
    view.setUint32(12, typeBytes, true);
    view.setUint32(16, typeBytes, true);
    view.setUint32(20, this.#stringBytes, true);
    this.#words.forEach((word, index) => view.setUint32(HEADER_SIZE + index * 4, word, true));
    let at = HEADER_SIZE + typeBytes;
    for (const text of this.#strings) {
      out.set(text, at);
      at += text.length;
    }
    return out;
  }

  #field(field: Field): number {
    if (field.kind === "int") return this.int(`__u${field.size * 8}`, field.size);
    if (field.kind === "kernel") return this.#kernelStruct(field);
    return this.array(this.int("__u8", 1), field.size);
  }

  /** The kernel knows these by name and size (btf_find_struct_field() in kernel/bpf/btf.c). */
  #kernelStruct({ type, size }: KernelField): number {
    const opaque =
      type === "bpf_timer" ? this.array(this.int("__u64", 8), size / 8) : this.int("__u32", 4);
    const name = this.string(type === "bpf_timer" ? "__opaque" : "val");
    return this.#type(type, Kind.STRUCT, 1, size, [name, opaque, 0]);
  }

  #type(name: string, kind: number, vlen: number, sizeOrType: number, rest: number[]): number {
    const words = [this.string(name), (kind << 24) | vlen, sizeOrType, ...rest];
    const key = words.join();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.#words.push(...words);
    this.#typeCount += 1;
    this.#known.set(key, this.#typeCount);
    return this.#typeCount;
  }
}
