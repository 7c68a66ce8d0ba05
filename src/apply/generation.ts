/**
 * The pins of one run of a daemon. Each start makes its maps and programs anew, in a generation of its
 * own, and moves the interfaces' links over to them; only then does the generation before go. So a
 * restart, whatever ended the run before, leaves no packet without a program.
 *
 *     <folder>/link_<ifindex>     the link: outlives generations
 *     <folder>/<n>/<map>          maps of generation n
 *     <folder>/<n>/program_<ifindex>
 */
import { rmSync } from "node:fs";
import type { MapSpec, ProgramImage } from "../bpf/image.ts";
import { KernelError } from "../kernel/errors.ts";
import type { KernelProcess } from "../kernel/kernel-process.ts";
import type { LoadedProgram } from "../kernel/kernel-process-protocol.ts";
import { openLink, type XdpMode } from "../kernel/links.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { listPins, makePinDirectory, pin } from "../kernel/pins.ts";
import type { XdpMode as WantedMode } from "../model/model.ts";

/** A program on an interface. */
export interface Attachment extends LoadedProgram {
  readonly interface: string;
  readonly ifindex: number;
  /** How it runs; `kept` when it took over a link of the run before, whose mode stays. */
  readonly mode: XdpMode | "kept";
  /** Why native mode was not to be had, where generic runs instead. */
  readonly fallback: string | null;
}

export interface AttachOptions {
  readonly image: ProgramImage;
  readonly interface: string;
  readonly ifindex: number;
  readonly mode: WantedMode;
}

export class Generation {
  readonly #folder: string;
  readonly #name: string;
  readonly #kernel: KernelProcess;
  readonly #mapPins: Record<string, string> = {};

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
   * Loads a program and makes it the one that runs on an interface: in place of the run before's, or
   * newly attached.
   * @throws {KernelError}
   */
  async attach(options: AttachOptions): Promise<Attachment> {
    const { image, ifindex, mode } = options;
    const programPin = `${this.#folder}/${this.#name}/program_${ifindex}`;
    const linkPin = `${this.#folder}/${linkName(ifindex)}`;
    const loaded = await this.#kernel.loadProgram({ image, maps: this.#mapPins, pin: programPin });
    const known = { ...loaded, interface: options.interface, ifindex };
    if (ownLinks(this.#folder).has(ifindex)) {
      await this.#kernel.replaceProgram({ linkPin, programPin });
      return { ...known, mode: "kept", fallback: null };
    }
    const attach = async (as: XdpMode): Promise<Attachment> => {
      await this.#kernel.attachXdp({ ifindex, programPin, linkPin, mode: as });
      return { ...known, mode: as, fallback: null };
    };
    if (mode !== "auto") return attach(mode);
    try {
      return await attach("native");
    } catch (error) {
      if (!(error instanceof KernelError) || error.code !== "LINK_CREATE") throw error;
      return { ...(await attach("generic")), fallback: error.message };
    }
  }

  /** Takes away what the runs before left: their generations, and links on interfaces not in `ifindexes`. */
  async removeOthers(ifindexes: ReadonlySet<number>): Promise<void> {
    for (const entry of listPins(this.#folder)) {
      const ifindex = ifindexOf(entry);
      if (ifindex !== null && !ifindexes.has(ifindex)) {
        await this.#kernel.detach({ linkPin: `${this.#folder}/${entry}` });
      }
    }
    for (const name of generationsIn(this.#folder)) if (name !== this.#name) this.#remove(name);
  }

  /** Takes this generation's pins away; for a start that failed. */
  discard(): void {
    this.#remove(this.#name);
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

const linkName = (ifindex: number): string => `link_${ifindex}`;

function ifindexOf(entry: string): number | null {
  const match = /^link_(\d+)$/.exec(entry);
  return match === null ? null : Number(match[1]);
}

const generationsIn = (folder: string): readonly string[] =>
  listPins(folder).filter((entry) => /^\d+$/.test(entry));
