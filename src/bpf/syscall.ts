/** Programs that user space runs itself, with a context it gives (`BPF_PROG_TYPE_SYSCALL`). They may sleep. */
import { FunctionBuilder } from "./function.ts";
import { ProgramType } from "./image.ts";
import type { Fields, Struct } from "./layout.ts";
import { type Program, programOf } from "./program.ts";
import { Pointer, type View } from "./view.ts";

/** Builds a program over a context of this layout, which it may read and write. */
export function syscallProgram<T extends Fields>(
  name: string,
  context: Struct<T>,
  body: (p: FunctionBuilder, context: View<T>) => void,
): Program {
  const builder = new FunctionBuilder(name);
  body(builder, new Pointer(builder, builder.parameter(0).register).as(context));
  return programOf({
    name,
    type: ProgramType.BPF_PROG_TYPE_SYSCALL,
    context,
    function: builder.finish(),
  });
}
