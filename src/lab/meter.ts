/**
 * What the demo reads off the machine: counters of interfaces and the run time of the director's
 * program. Which counter counts what on veth (drivers/net/veth.c, Linux 6.18, and measured):
 *
 * - Frames that XDP sends back are counted by the other end when it takes them, and veth_get_stats64
 *   adds that to the sender's `tx_bytes`: whole Ethernet frames. So the director's `tx_bytes` is what
 *   left it, outer headers included.
 * - What a port with an XDP program takes from a stack is counted without its Ethernet header. So the
 *   director's `rx_bytes` is 14 bytes a packet short, and for what came in the program's own
 *   counters are taken, which count whole frames.
 * - The client has no XDP program: its `rx_bytes` counts whole frames.
 *
 * Run times are the kernel's (BPF_ENABLE_STATS). They hold a reading of the clock and whatever
 * interrupted the run; the lab's empty program shows how much that is.
 */
import { readFileSync } from "node:fs";
import { listPins, openPin } from "../kernel/pins.ts";
import { openProgramById } from "../kernel/program-by-id.ts";
import { BpfProgram } from "../kernel/programs.ts";
import { countRunTime, type RunTimeStats } from "../kernel/run-time-stats.ts";
import { pinFolder } from "../daemon/instance.ts";
import type { Lab } from "./lab.ts";
import type { LabNode } from "./node.ts";

/** Since the node or program came to be. */
export interface Reading {
  readonly directorOutBytes: number;
  readonly clientInBytes: number;
  readonly program: RunTime;
  /** Of the lab's empty program, on the frames that pass the switch. */
  readonly empty: RunTime;
}

/** As the kernel counts it: from before a run to after it, whatever came between. */
export interface RunTime {
  readonly ns: number;
  readonly runs: number;
}

export class Meter {
  readonly #lab: Lab;
  readonly #stats: RunTimeStats;
  readonly #program: BpfProgram;
  readonly #empty: BpfProgram;
  #open = true;

  /** Run times are counted until it is closed. */
  constructor(lab: Lab) {
    this.#lab = lab;
    this.#program = new BpfProgram(openPin(programPin(lab)), "director");
    this.#empty = emptyProgram(lab);
    this.#stats = countRunTime();
  }

  read(): Reading {
    const { director, client } = this.#lab.network.nodes;
    return {
      directorOutBytes: counter(director, "tx_bytes"),
      clientInBytes: counter(client, "rx_bytes"),
      program: runTime(this.#program),
      empty: runTime(this.#empty),
    };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stats.close();
    this.#program.close();
    this.#empty.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function programPin({ config, network }: Lab): string {
  const folder = network.nodes.director.path(pinFolder(config.instance, "director"));
  for (const generation of listPins(folder)) {
    if (!/^\d+$/.test(generation)) continue;
    const program = listPins(`${folder}/${generation}`).find((name) => name.startsWith("program_"));
    if (program !== undefined) return `${folder}/${generation}/${program}`;
  }
  throw new Error(`The director has no program below ${folder}`);
}

/** The one on the switch's ports. */
function emptyProgram({ network }: Lab): BpfProgram {
  const links = network.nodes.switch.rtnetlink().links();
  const id = links.flatMap(({ xdp }) => xdp).at(0)?.programId;
  const program = id === undefined ? null : openProgramById(id);
  if (program === null) throw new Error("The ports of the lab's switch have no program");
  return program;
}

function runTime(program: BpfProgram): RunTime {
  const { runTimeNs, runCount } = program.info();
  return { ns: Number(runTimeNs), runs: Number(runCount) };
}

const counter = (node: LabNode, name: string): number =>
  Number(readFileSync(node.path(`/sys/class/net/eth0/statistics/${name}`), "latin1"));
