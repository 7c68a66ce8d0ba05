/**
 * A program as written, and the image compiled from it. The pipeline, a pass a file:
 *
 *     function.ts  →  optimise.ts  →  allocate.ts  →  encode.ts  →  ProgramImage
 *     (records)       (leaves out)    (r0 to r9)      (bytes)       (with BTF, btf.ts)
 */
import { allocate } from "./allocate.ts";
import { BtfBuilder, Linkage } from "./btf.ts";
import { encode } from "./encode.ts";
import type { ProgramImage, ProgramType, SourceLine } from "./image.ts";
import type { FunctionIr } from "./ir.ts";
import { assembleInstructions } from "./isa.ts";
import type { Layout } from "./layout.ts";
import { optimise, withoutUnreachable } from "./optimise.ts";
import { shortName, sourceText } from "./source.ts";

export interface Program {
  readonly name: string;
  readonly type: ProgramType;
  readonly function: FunctionIr;
  /** What the first parameter points to. */
  readonly context: Layout;
}

export interface CompileOptions {
  /** Fewer registers than ten, to force spilling in tests. */
  readonly registersMax?: number;
  /** `false` keeps what is reached but does nothing, to test that leaving it out changes nothing. */
  readonly optimise?: boolean;
}

const NAME_LENGTH_MAX = 15;
/** GPL-compatible, which the kernel demands for most helpers; the project itself is MIT. */
const LICENSE = "Dual MIT/GPL";
const COLUMN_MAX = 1023;

/** @throws {RangeError} for a name the kernel would cut */
export function programOf(program: Program): Program {
  if (program.name.length > NAME_LENGTH_MAX || !/^[A-Za-z_]\w*$/.test(program.name)) {
    throw new RangeError(
      `Cannot build program "${program.name}": names have 1 to ${NAME_LENGTH_MAX} letters, digits and underscores, a digit not first`,
    );
  }
  return program;
}

/** Compiles a program to what a kernel takes. Pure: the same program gives the same image. */
export function compile(program: Program, options: CompileOptions = {}): ProgramImage {
  const recorded = program.function.code;
  const code = options.optimise === false ? withoutUnreachable(recorded) : optimise(recorded);
  const encoded = encode(allocate({ ...program.function, code }, options));
  const lines = encoded.lines.map(
    ({ instruction, source }): SourceLine => ({
      instruction,
      file: source.file,
      line: source.line,
      column: source.column,
      text: sourceText(source),
    }),
  );
  return {
    name: program.name,
    type: program.type,
    license: LICENSE,
    instructions: assembleInstructions(encoded.instructions),
    maps: encoded.maps,
    lines,
    ...debugInfo(program, lines),
  };
}

function debugInfo(
  program: Program,
  lines: readonly SourceLine[],
): Pick<ProgramImage, "btf" | "funcInfo" | "lineInfo"> {
  const btf = new BtfBuilder();
  const context = btf.pointer(btf.struct(program.context));
  const proto = btf.functionProto(btf.int("int", 4, true), [{ name: "ctx", type: context }]);
  const funcInfo = Uint32Array.of(0, btf.func(program.name, proto, Linkage.STATIC));
  const lineInfo = Uint32Array.from(
    lines.flatMap(({ instruction, file, line, column, text }) => [
      instruction,
      btf.string(shortName(file)),
      btf.string(text),
      (line << 10) | Math.min(column, COLUMN_MAX),
    ]),
  );
  return {
    btf: btf.build(),
    funcInfo: new Uint8Array(funcInfo.buffer),
    lineInfo: new Uint8Array(lineInfo.buffer),
  };
}
