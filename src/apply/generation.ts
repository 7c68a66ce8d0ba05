/**
 * The pins of one run of a daemon. Each start makes its maps and programs anew, in a generation of its
 * own, and moves the interfaces' links over to them; only then does the generation before go. So a
 * restart, whatever ended the run before, leaves no packet without a program.
 *
 *     <folder>/link_<ifindex>     the link: outlives generations
 *     <folder>/<n>/<map>          maps of generation n
 *     <folder>/<n>/program_<ifindex>
 */
import { existsSync, rmSync } from "node:fs";
import type { MapSpec, ProgramImage } from "../bpf/image.ts";
import { KernelError } from "../kernel/errors.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { LoadedProgram } from "../kernel/kernel-process-protocol.ts";
import { openLink, type XdpMode } from "../kernel/links.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { listPins, makePinDirectory, pin, removePin } from "../kernel/pins.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { XdpMode as WantedMode } from "../model/model.ts";

/** A program on an interface. */
export interface Attachment extends LoadedProgram {
  readonly interface: string;
  readonly ifindex: number;
  readonly mode: XdpMode;
  /** Took over the link of the run before: no packet was without a program. */
  readonly takenOver: boolean;
  /** Why native mode was not to be had, where generic runs instead. */
  readonly fallback: string | null;
}

export class Generation {
  readonly #folder: string;
  readonly #name: string;
  readonly #kernel: KernelProcess;
  readonly #mapPins: Record<string, string> = {};
  /** What takes back each attachment of this run, until the run before is removed. */
  #undoing: (() => Promise<void>)[] = [];

  private constructor(folder: string, name: string, kernel: KernelProcess) {
    this.#folder = folder;
    this.#name = name;
    this.#kernel = kernel;
  }

  /**
   * Makes the next generation below `folder`.
   * @throws {KernelError} NO_BPFFS, PIN
   */
  static create(folder: string, kernel: KernelProcess): Generation {
    const last = Math.max(0, ...generationsIn(folder).map(Number));
    const name = String(last + 1);
    makePinDirectory(`${folder}/${name}`);
    return new Generation(folder, name, kernel);
  }

  /** Creates a map and pins it. @throws {KernelError} */
  createMap(spec: MapSpec): BpfMap {
    const map = createMap(spec);
    const path = `${this.#folder}/${this.#name}/${spec.name}`;
    pin(map.fd, path);
    this.#mapPins[spec.name] = path;
    return map;
  }

  /**
   * Loads a program and makes it the one that runs on `link`: in place of the run before's, unless
   * that runs in another mode than an explicit `wanted`. Then the interface is without a program for
   * as long as it takes.
   * @throws {KernelError}
   */
  async attach(image: ProgramImage, link: Link, wanted: WantedMode): Promise<Attachment> {
    const { ifindex } = link;
    const programPin = `${this.#folder}/${this.#name}/program_${ifindex}`;
    const linkPin = `${this.#folder}/${linkName(ifindex)}`;
    const loaded = await this.#kernel.loadProgram({ image, maps: this.#mapPins, pin: programPin });
    const known = { ...loaded, interface: link.name, ifindex };
    const before = modeOf(link, ownLinks(this.#folder));
    const previousPin = this.#previousProgram(ifindex);
    if (before !== null && (wanted === "auto" || wanted === before)) {
      await this.#kernel.replaceProgram({ linkPin, programPin });
      if (previousPin !== null) {
        this.#undoing.push(() => this.#kernel.replaceProgram({ linkPin, programPin: previousPin }));
      }
      return { ...known, mode: before, takenOver: true, fallback: null };
    }
    // A device made anew may get the index of one that is gone, and finds its dead link.
    if (before === null) removePin(linkPin);
    else await this.#kernel.detach({ linkPin });
    if (before !== null && previousPin !== null) {
      const again = { ifindex, programPin: previousPin, linkPin, mode: before };
      this.#undoing.push(() => this.#kernel.attachXdp(again));
    }
    const attach = async (mode: XdpMode, fallback: string | null): Promise<Attachment> => {
      await this.#kernel.attachXdp({ ifindex, programPin, linkPin, mode });
      this.#undoing.push(() => this.#kernel.detach({ linkPin }));
      return { ...known, mode, takenOver: false, fallback };
    };
    if (wanted !== "auto") return attach(wanted, null);
    try {
      return await attach("native", null);
    } catch (error) {
      if (!(error instanceof KernelError) || error.code !== "LINK_CREATE") throw error;
      return attach("generic", error.message);
    }
  }

  /**
   * Makes this run the one that stays: takes away the generations before, and links on interfaces not
   * in `ifindexes`.
   */
  async removeOthers(ifindexes: ReadonlySet<number>): Promise<void> {
    this.#undoing = [];
    for (const entry of listPins(this.#folder)) {
      const ifindex = ifindexOf(entry);
      if (ifindex !== null && !ifindexes.has(ifindex)) {
        await this.#kernel.detach({ linkPin: `${this.#folder}/${entry}` });
      }
    }
    for (const name of generationsIn(this.#folder)) if (name !== this.#name) this.#remove(name);
  }

  /** For a start that failed: interfaces get back what they had, and this run's pins go. */
  async undo(): Promise<void> {
    for (const undo of this.#undoing.toReversed()) await undo();
    this.#undoing = [];
    this.discard();
  }

  /** Takes this generation's pins away; its links stay. */
  discard(): void {
    this.#remove(this.#name);
  }

  /** The program that the run before has on an interface; `null` when there is none. */
  #previousProgram(ifindex: number): string | null {
    const before = generationsIn(this.#folder).filter((name) => Number(name) < Number(this.#name));
    const latest = before.toSorted((one, other) => Number(other) - Number(one)).at(0);
    const pinned = `${this.#folder}/${latest}/program_${ifindex}`;
    return latest !== undefined && existsSync(pinned) ? pinned : null;
  }

  #remove(name: string): void {
    rmSync(`${this.#folder}/${name}`, { recursive: true, force: true });
  }
}

/** Interfaces that a pinned link of `folder` still holds. */
export function ownLinks(folder: string): ReadonlySet<number> {
  const held = new Set<number>();
  for (const entry of listPins(folder)) {
    const ifindex = ifindexOf(entry);
    if (ifindex === null) continue;
    using link = openLink(`${folder}/${entry}`);
    // The kernel zeroes it when the device goes.
    if (link.info().ifindex === ifindex) held.add(ifindex);
  }
  return held;
}

/** The mode in which this folder's link runs on an interface; `null` when none does. */
function modeOf(link: Link, own: ReadonlySet<number>): XdpMode | null {
  if (!own.has(link.ifindex)) return null;
  return link.xdp.some(({ mode }) => mode === "generic") ? "generic" : "native";
}

const linkName = (ifindex: number): string => `link_${ifindex}`;

function ifindexOf(entry: string): number | null {
  const match = /^link_(\d+)$/.exec(entry);
  return match === null ? null : Number(match[1]);
}

const generationsIn = (folder: string): readonly string[] =>
  listPins(folder).filter((entry) => /^\d+$/.test(entry));
