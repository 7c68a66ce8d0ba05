/**
 * How many CPUs a per-CPU map has a value for: the *possible* ones, which may be more than are
 * online (kernel/bpf/syscall.c, bpf_map_value_size()).
 */
import { readFileSync } from "node:fs";

/** Counts the CPUs of a kernel list such as `0-3,8`. */
export function countCpuList(list: string): number {
  let count = 0;
  for (const range of list.trim().split(",")) {
    if (range === "") continue;
    const [first = 0, last = first] = range.split("-").map(Number);
    count += last - first + 1;
  }
  return count;
}

let possible = 0;

/** The number of possible CPUs, which never changes while a kernel runs. */
export function possibleCpuCount(): number {
  possible ||= countCpuList(readFileSync("/sys/devices/system/cpu/possible", "latin1"));
  return possible;
}

/** One more than the highest CPU number that can be: CPU numbers may have gaps. */
export function possibleCpuLimit(): number {
  const list = readFileSync("/sys/devices/system/cpu/possible", "latin1");
  return Number(list.trim().split(/[-,]/).at(-1)) + 1;
}
