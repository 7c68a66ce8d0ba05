/** What could stay when a lab is taken down, listed before and looked for after. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { call } from "../kernel/libc.ts";
import { openPin } from "../kernel/pins.ts";
import { openProgramById } from "../kernel/program-by-id.ts";
import { programInfo } from "../kernel/programs.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";

/** The kernel frees namespaces and programs a moment after the last process is gone. */
const GONE_WITHIN_MS = 5000;
const LOOK_AGAIN_MS = 20;

export interface Traces {
  /** Of the nodes, as /proc names them: `net:[4026532000]`. */
  readonly namespaces: ReadonlySet<string>;
  /** Pinned in the nodes' BPF file systems. */
  readonly programIds: readonly number[];
  readonly hostLinks: readonly string[];
}

/**
 * Of the processes that hold nodes, while they run. `links`: the interfaces this machine has anyway.
 */
export function tracesOf(pids: readonly number[], links = hostLinks()): Traces {
  return {
    namespaces: new Set(pids.map((pid) => readlinkSync(`/proc/${pid}/ns/net`))),
    programIds: [...new Set(pids.flatMap(pinnedPrograms))],
    hostLinks: links,
  };
}

/** What is still there, a word or two each; waits up to 5 s for the kernel. */
export async function leftOf(traces: Traces): Promise<readonly string[]> {
  const deadline = AbortSignal.timeout(GONE_WITHIN_MS);
  for (;;) {
    const left = [
      ...processesIn(traces.namespaces).map((pid) => `process ${pid} (${nameOf(pid)})`),
      ...traces.programIds.filter(programExists).map((id) => `BPF program ${id}`),
      ...hostLinks()
        .filter((link) => !traces.hostLinks.includes(link))
        .map((link) => `interface ${link}`),
    ];
    if (left.length === 0 || deadline.aborted) return left;
    await delay(LOOK_AGAIN_MS);
  }
}

function pinnedPrograms(pid: number): readonly number[] {
  const top = `/proc/${pid}/root/sys/fs/bpf`;
  return readdirSync(top, { recursive: true, encoding: "utf8" })
    .filter((path) => /(^|\/)program_\d+$/.test(path))
    .map((path) => {
      const fd = openPin(`${top}/${path}`);
      try {
        return programInfo(fd).id;
      } finally {
        call("close", fd);
      }
    });
}

const processesIn = (namespaces: ReadonlySet<string>): readonly number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return namespaces.has(readlinkSync(`/proc/${pid}/ns/net`));
      } catch {
        // Gone, or a zombie, which is in no namespace any more.
        return false;
      }
    });

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return "gone";
  }
}

function programExists(id: number): boolean {
  const program = openProgramById(id);
  program?.close();
  return program !== null;
}

/** Interfaces of this machine by name. */
export function hostLinks(): readonly string[] {
  using rtnetlink = Rtnetlink.open();
  return rtnetlink.links().map(({ name }) => name);
}
