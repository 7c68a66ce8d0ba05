/** Puts the functions of a program one after the other: distances of calls, BTF, function and line info. */
import { BtfBuilder, Linkage } from "./btf.ts";
import type { EncodedFunction } from "./encode.ts";
import type { ProgramImage, SourceLine } from "./image.ts";
import type { FunctionIr, ParameterType } from "./ir.ts";
import { assembleInstructions } from "./isa.ts";
import type { Program } from "./program.ts";
import { shortName, sourceText } from "./source.ts";

export interface CompiledFunction {
  readonly ir: FunctionIr;
  readonly encoded: EncodedFunction;
}

/** GPL-compatible, which the kernel demands for most helpers; the project itself is MIT. */
const LICENSE = "Dual MIT/GPL";
const COLUMN_MAX = 1023;

/** Links `functions`, the program's own first. */
export function link(program: Program, functions: readonly CompiledFunction[]): ProgramImage {
  const starts = new Map<FunctionIr, number>();
  let end = 0;
  for (const { ir, encoded } of functions) {
    starts.set(ir, end);
    end += encoded.instructions.length;
  }
  const at = <T extends { readonly instruction: number }>(
    pick: (encoded: EncodedFunction) => readonly T[],
  ): readonly T[] =>
    functions.flatMap(({ ir, encoded }) =>
      pick(encoded).map((item) => ({
        ...item,
        instruction: item.instruction + (starts.get(ir) ?? 0),
      })),
    );
  const instructions = functions.flatMap(({ encoded }) => encoded.instructions);
  for (const { instruction, callee } of at(({ functions: named }) => named)) {
    const imm = (starts.get(callee) ?? 0) - instruction - 1;
    instructions[instruction] = { ...(instructions[instruction] as (typeof instructions)[0]), imm };
  }
  const lines = at(({ lines: known }) => known).map(
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
    instructions: assembleInstructions(instructions),
    maps: at(({ maps }) => maps),
    symbols: at(({ symbols }) => symbols),
    functions: functions.map(({ ir }) => ({ instruction: starts.get(ir) ?? 0, name: ir.name })),
    lines,
    ...debugInfo(program, functions, starts, lines),
  };
}

function debugInfo(
  program: Program,
  functions: readonly CompiledFunction[],
  starts: ReadonlyMap<FunctionIr, number>,
  lines: readonly SourceLine[],
): Pick<ProgramImage, "btf" | "funcInfo" | "lineInfo"> {
  const btf = new BtfBuilder();
  const typeOf = (parameter: ParameterType): number => {
    if (parameter.kind === "number") return btf.int(`__u${parameter.size * 8}`, parameter.size);
    return btf.pointer(parameter.to === null ? 0 : btf.struct(parameter.to));
  };
  const funcInfo = Uint32Array.from(
    functions.flatMap(({ ir }, index) => {
      const isMain = index === 0;
      const parameters = isMain
        ? [{ name: "ctx", type: btf.pointer(btf.struct(program.context)) }]
        : ir.parameters.map((parameter, at) => ({ name: `a${at}`, type: typeOf(parameter) }));
      const result = isMain ? btf.int("int", 4, true) : btf.int("__u64", 8);
      const linkage = ir.global ? Linkage.GLOBAL : Linkage.STATIC;
      const proto = btf.functionProto(result, parameters);
      return [starts.get(ir) ?? 0, btf.func(isMain ? program.name : ir.name, proto, linkage)];
    }),
  );
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
