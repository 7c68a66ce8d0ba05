/**
 * Reads the verifier's log (kernel/bpf/log.c, level 1) and finds what a human wants of it: the
 * complaint, the instruction it is about and the line of TypeScript that emitted it.
 */
import type { SourceLine } from "./image.ts";

export interface VerifierExplanation {
  /** The complaint, and before it the instruction with the registers as the verifier saw them. */
  readonly summary: readonly string[];
  /** Index of the instruction complained about, null when the log names none. */
  readonly instruction: number | null;
  /** Where that instruction comes from, null when unknown. */
  readonly source: SourceLine | null;
  /** Lines of the log that the summary leaves out. */
  readonly omittedLines: number;
}

const INSTRUCTION = /^(\d+): \([0-9a-f]{2}\) /;
const REGISTERS = /^(?:\d+: (?:frame\d+: )?)?R\d+(?:_\w+)?=|^from \d+ to \d+/;
const SOURCE = /^; /;
const STATISTICS =
  /^(?:processed \d+ insns|verification time|stack depth|insns processed|mark_precise: |last_idx |regs=|parent |(?:cur|old) state:|frame\d+: |func#\d+ @|arg#\d+ |caller:|callee:|returning from callee:|to caller at )/;
const NAMED =
  /\binsn (?:#)?(\d+)|^(?:jump out of range from insn|back-edge from insn|unreachable insn|unknown opcode) (\d+)/;
// The complaint may take some lines; more than these are a dump of something.
const MAX_COMPLAINT_LINES = 3;

/** Explains a log by the lines of the image it is about. */
export function explainVerifierLog(log: string, lines: readonly SourceLine[]): VerifierExplanation {
  const all = log.split("\n").filter((line) => line.trim() !== "");
  let end = all.length;
  while (end > 0 && isNoise(all[end - 1] ?? "")) end--;
  let start = end;
  while (start > 0 && end - start < MAX_COMPLAINT_LINES && !isWalk(all[start - 1] ?? "")) start--;
  const complaint = all.slice(start, end);

  const named = instructionNamedIn(complaint);
  const walked = lastInstruction(all, start);
  const instruction = named ?? walked.instruction;
  const shown = named === null && walked.text !== null ? [walked.text] : [];
  return {
    summary: [...shown, ...complaint],
    instruction,
    source: instruction === null ? null : sourceOf(instruction, lines),
    omittedLines: all.length - complaint.length - shown.length,
  };
}

/** The explanation as indented lines for an error message. */
export function formatExplanation(explanation: VerifierExplanation): string {
  const { source, summary, omittedLines } = explanation;
  const where = source
    ? [`${source.file}:${source.line}:${source.column}: ${source.text.trim()}`]
    : [];
  const omitted = omittedLines > 0 ? [`(${omittedLines} more in the verifier's log)`] : [];
  return [...where, ...summary, ...omitted].map((line) => `  ${line}`).join("\n");
}

/** The line that emitted `instruction`: the last record at or before it. */
function sourceOf(instruction: number, lines: readonly SourceLine[]): SourceLine | null {
  let found: SourceLine | null = null;
  for (const line of lines) {
    if (line.instruction > instruction) continue;
    if (found === null || line.instruction >= found.instruction) found = line;
  }
  return found;
}

function instructionNamedIn(complaint: readonly string[]): number | null {
  for (const line of complaint) {
    const match = NAMED.exec(line);
    const index = match?.[1] ?? match?.[2];
    if (index !== undefined) return Number(index);
  }
  return null;
}

function lastInstruction(
  all: readonly string[],
  before: number,
): { readonly instruction: number | null; readonly text: string | null } {
  for (let i = before - 1; i >= 0; i--) {
    const line = all[i] ?? "";
    const match = INSTRUCTION.exec(line);
    if (match) return { instruction: Number(match[1]), text: line };
  }
  return { instruction: null, text: null };
}

/** A line of the walk through the program, as opposed to a complaint. */
const isWalk = (line: string): boolean =>
  INSTRUCTION.test(line) || REGISTERS.test(line) || SOURCE.test(line) || STATISTICS.test(line);

/** What may follow a complaint. */
const isNoise = (line: string): boolean => STATISTICS.test(line) || REGISTERS.test(line);
