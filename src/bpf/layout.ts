/**
 * Layouts of memory shared with the kernel or the wire. A struct is declared once, as a value, and
 * gives its size, its offsets, a reader, a writer, its BTF (`btf.ts`) and its TypeScript type; the
 * builder reads and writes the same fields from inside a program (`view.ts`).
 *
 * Fields follow each other without hidden padding. One that is not aligned to its own size must be
 * preceded by `pad(n)`, or the struct declared `packed` (headers on the wire).
 */

export type ByteOrder = "host" | "network";

/** An unsigned integer: `number` up to 32 bits, `bigint` for 64, host order in TypeScript either way. */
export interface IntField<Size extends 1 | 2 | 4 | 8 = 1 | 2 | 4 | 8> {
  readonly kind: "int";
  readonly size: Size;
  /** How it lies in memory. Readers and writers convert; the builder swaps constants when it emits. */
  readonly order: ByteOrder;
}

/** Bytes that are copied as they are: addresses, MACs. */
export interface BytesField {
  readonly kind: "bytes";
  readonly size: number;
}

/** Bytes nobody reads, written as zero. */
export interface PadField {
  readonly kind: "pad";
  readonly size: number;
}

/** What the kernel keeps in a value for itself, and finds by its type in BTF; user space sees zeros. */
export interface KernelField {
  readonly kind: "kernel";
  readonly type: "bpf_timer" | "bpf_spin_lock";
  readonly size: number;
}

export type Field = IntField | BytesField | PadField | KernelField;
/** Fields that hold nothing for user space. */
export type HiddenField = PadField | KernelField;
export type Fields = Readonly<Record<string, Field>>;

export const u8: IntField<1> = { kind: "int", size: 1, order: "host" };
export const u16: IntField<2> = { kind: "int", size: 2, order: "host" };
export const u32: IntField<4> = { kind: "int", size: 4, order: "host" };
export const u64: IntField<8> = { kind: "int", size: 8, order: "host" };
export const be16: IntField<2> = { kind: "int", size: 2, order: "network" };
export const be32: IntField<4> = { kind: "int", size: 4, order: "network" };
export const be64: IntField<8> = { kind: "int", size: 8, order: "network" };
export const bytes = (size: number): BytesField => ({ kind: "bytes", size });
/** `struct bpf_timer`, in a hash or array's value: see `timer.ts`. */
export const bpfTimer: KernelField = { kind: "kernel", type: "bpf_timer", size: 16 };
/** `struct bpf_spin_lock`: see `lock.ts`. */
export const bpfSpinLock: KernelField = { kind: "kernel", type: "bpf_spin_lock", size: 4 };
export const pad = (size: number): PadField => ({ kind: "pad", size });

type ValueOf<F extends Field> =
  F extends IntField<8>
    ? bigint
    : F extends IntField
      ? number
      : F extends BytesField
        ? Uint8Array
        : never;

/** The TypeScript record of a struct: every field but padding and what is the kernel's. */
export type RecordOf<T extends Fields> = {
  readonly [K in keyof T as T[K] extends HiddenField ? never : K]: ValueOf<T[K]>;
};

/** A struct whatever its fields: what maps, BTF and descriptions need of one. */
export interface Layout {
  readonly name: string;
  readonly size: number;
  readonly fields: Fields;
  readonly offsets: Readonly<Record<string, number>>;
}

export interface Struct<T extends Fields> extends Layout {
  readonly fields: T;
  readonly offsets: { readonly [K in keyof T & string]: number };
  /** Decodes the record at `at`. @throws {RangeError} when `from` ends before it */
  read(from: Uint8Array, at?: number): RecordOf<T>;
  /** Encodes `record` at `at`; fields not given are left as they are. @throws {RangeError} when it does not fit */
  write(into: Uint8Array, record: Partial<RecordOf<T>>, at?: number): void;
  /** Encodes a whole record into new bytes; fields not given are zero. */
  encode(record: Partial<RecordOf<T>>): Uint8Array;
}

/**
 * Declares a struct.
 * @throws {TypeError} when a field is misaligned and the struct is not `packed`, or `size` is given and differs
 */
export function struct<const T extends Fields>(
  name: string,
  fields: T,
  options: { readonly packed?: boolean; readonly size?: number } = {},
): Struct<T> {
  const offsets = {} as { [K in keyof T]: number };
  let size = 0;
  for (const [key, field] of entries(fields)) {
    const alignment = alignmentOf(field, options.packed === true);
    if (size % alignment !== 0) {
      throw new TypeError(
        `Cannot declare struct "${name}": field "${String(key)}" of ${field.size} bytes would lie at offset ${size}, put pad(${alignment - (size % alignment)}) before it`,
      );
    }
    offsets[key] = size;
    size += field.size;
  }
  if (options.size !== undefined && options.size !== size) {
    throw new TypeError(
      `Cannot declare struct "${name}": fields make ${size} bytes, declared ${options.size}`,
    );
  }
  return {
    name,
    size,
    fields,
    offsets,
    read: (from, at = 0) => readRecord(fields, offsets, viewOf(from), at),
    write: (into, record, at = 0) => writeRecord(fields, offsets, viewOf(into), record, at),
    encode(record) {
      const out = new Uint8Array(size);
      writeRecord(fields, offsets, viewOf(out), record, 0);
      return out;
    },
  };
}

/** What the kernel keeps is aligned even in packed structs. */
function alignmentOf(field: Field, packed: boolean): number {
  if (field.kind === "kernel") return Math.min(field.size, 8);
  return field.kind === "int" && !packed ? field.size : 1;
}

/** The offset table as text, for tests and docs: one line a field, `offset size name`. */
export function describe(layout: Layout): string {
  const rows = Object.entries(layout.fields).map(([key, field]) => {
    const order = field.kind === "int" && field.order === "network" ? " be" : "";
    return `${String(layout.offsets[key]).padStart(4)} ${String(field.size).padStart(3)} ${key}${order}`;
  });
  return [`struct ${layout.name} ${layout.size}`, ...rows].join("\n");
}

function readRecord<T extends Fields>(
  fields: T,
  offsets: { readonly [K in keyof T]: number },
  from: DataView,
  at: number,
): RecordOf<T> {
  const record: Record<string, number | bigint | Uint8Array> = {};
  for (const [key, field] of entries(fields)) {
    if (field.kind === "pad" || field.kind === "kernel") continue;
    const offset = at + offsets[key];
    record[String(key)] =
      field.kind === "int" ? readInt(from, offset, field) : sliceOf(from, offset, field.size);
  }
  return record as RecordOf<T>;
}

function writeRecord<T extends Fields>(
  fields: T,
  offsets: { readonly [K in keyof T]: number },
  into: DataView,
  record: Readonly<Record<string, number | bigint | Uint8Array | undefined>>,
  at: number,
): void {
  for (const [key, field] of entries(fields)) {
    const value = record[String(key)];
    if (value === undefined || field.kind === "pad" || field.kind === "kernel") continue;
    const offset = at + offsets[key];
    if (field.kind === "int") {
      const number = value as number | bigint;
      if (number < 0 || number >= 2 ** (field.size * 8)) {
        throw new RangeError(
          `Cannot write "${String(key)}": ${number} is no unsigned number of ${field.size * 8} bits`,
        );
      }
      writeInt(into, offset, field, number);
      continue;
    }
    const source = value as Uint8Array;
    if (source.length !== field.size) {
      throw new RangeError(
        `Cannot write "${String(key)}": ${source.length} bytes given, ${field.size} needed`,
      );
    }
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(source, offset);
  }
}

function readInt(from: DataView, at: number, field: IntField): number | bigint {
  const little = field.order === "host";
  switch (field.size) {
    case 1:
      return from.getUint8(at);
    case 2:
      return from.getUint16(at, little);
    case 4:
      return from.getUint32(at, little);
    case 8:
      return from.getBigUint64(at, little);
  }
}

function writeInt(into: DataView, at: number, field: IntField, value: number | bigint): void {
  const little = field.order === "host";
  switch (field.size) {
    case 1:
      return into.setUint8(at, Number(value));
    case 2:
      return into.setUint16(at, Number(value), little);
    case 4:
      return into.setUint32(at, Number(value), little);
    case 8:
      return into.setBigUint64(at, BigInt(value), little);
  }
}

// Host order is little endian: the targets are x86-64 and arm64 (package.json, "cpu").
const viewOf = (from: Uint8Array): DataView =>
  new DataView(from.buffer, from.byteOffset, from.byteLength);

const sliceOf = (from: DataView, at: number, size: number): Uint8Array => {
  if (at + size > from.byteLength)
    throw new RangeError(`Cannot read ${size} bytes at ${at}: ${from.byteLength} bytes in all`);
  return new Uint8Array(from.buffer.slice(from.byteOffset + at, from.byteOffset + at + size));
};

const entries = <T extends Fields>(fields: T): [keyof T, Field][] => Object.entries(fields);
