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
import { AttachType, openLink, type XdpMode } from "../kernel/links.ts";
import { type BpfMap, createMap } from "../kernel/maps.ts";
import { listPins, makePinDirectory, pin, removePin } from "../kernel/pins.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { AgentMode as WantedMode } from "../model/model.ts";

/** A program on an interface. */
export interface Attachment extends LoadedProgram {
  readonly interface: string;
  readonly ifindex: number;
  readonly mode: AttachMode;
  /** Took over the link of the run before: no packet was without a program. */
  readonly takenOver: boolean;
  /** Why native mode was not to be had, where another runs instead. */
  readonly fallback: string | null;
}

/** By XDP in the driver or behind it, or by TC. */
export type AttachMode = XdpMode | "tc";

/** A program in its forms: over XDP frames, and over socket buffers if there is one. */
export interface Forms {
  readonly xdp: ProgramImage;
  readonly tc?: ProgramImage;
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
   * as long as it takes. `auto` is native, else TC if there is such a form, else generic.
   * @throws {KernelError}
   */
  async attach(forms: Forms, link: Link, wanted: WantedMode): Promise<Attachment> {
    const { ifindex } = link;
    const programPin = `${this.#folder}/${this.#name}/program_${ifindex}`;
    const linkPin = `${this.#folder}/${linkName(ifindex)}`;
    const load = async (mode: AttachMode): Promise<Omit<Attachment, "takenOver" | "fallback">> => {
      const image = mode === "tc" ? forms.tc : forms.xdp;
      if (image === undefined) throw new RangeError(`There is no program for mode ${mode}`);
      const maps = this.#mapPins;
      const loaded = await this.#kernel.loadProgram({ image, maps, pin: programPin });
      return { ...loaded, interface: link.name, ifindex, mode };
    };
    const before = modeOf(link, this.#folder);
    const previousPin = this.#previousProgram(ifindex);
    if (before !== null && (wanted === "auto" || wanted === before)) {
      const loaded = await load(before);
      await this.#kernel.replaceProgram({ linkPin, programPin });
      if (previousPin !== null) {
        this.#undoing.push(() => this.#kernel.replaceProgram({ linkPin, programPin: previousPin }));
      }
      return { ...loaded, takenOver: true, fallback: null };
    }
    let loaded = await load(wanted === "auto" ? "native" : wanted);
    // A device made anew may get the index of one that is gone, and finds its dead link.
    if (before === null) removePin(linkPin);
    else await this.#kernel.detach({ linkPin });
    if (before !== null && previousPin !== null) {
      this.#undoing.push(() => this.#attachAs(before, ifindex, previousPin, linkPin));
    }
    const attach = async (fallback: string | null): Promise<Attachment> => {
      await this.#attachAs(loaded.mode, ifindex, programPin, linkPin);
      this.#undoing.push(() => this.#kernel.detach({ linkPin }));
      return { ...loaded, takenOver: false, fallback };
    };
    if (wanted !== "auto") return attach(null);
    const refusals: string[] = [];
    const modes: readonly AttachMode[] = [
      "native",
      ...(forms.tc ? ["tc" as const] : []),
      "generic",
    ];
    for (const mode of modes) {
      if (mode !== "native") loaded = await load(mode);
      try {
        return await attach(refusals.length === 0 ? null : refusals.join("; "));
      } catch (error) {
        const isLast = mode === modes.at(-1);
        if (isLast || !(error instanceof KernelError) || error.code !== "LINK_CREATE") throw error;
        refusals.push(error.message);
      }
    }
    throw new RangeError("There is no mode to attach in");
  }

  async #attachAs(
    mode: AttachMode,
    ifindex: number,
    programPin: string,
    linkPin: string,
  ): Promise<void> {
    const where = { ifindex, programPin, linkPin };
    if (mode === "tc") await this.#kernel.attachTcx({ ...where, direction: "ingress" });
    else await this.#kernel.attachXdp({ ...where, mode });
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
function modeOf(link: Link, folder: string): AttachMode | null {
  if (!ownLinks(folder).has(link.ifindex)) return null;
  using own = openLink(`${folder}/${linkName(link.ifindex)}`);
  if (own.info().attachType === AttachType.BPF_TCX_INGRESS) return "tc";
  return link.xdp.some(({ mode }) => mode === "generic") ? "generic" : "native";
}

const linkName = (ifindex: number): string => `link_${ifindex}`;

function ifindexOf(entry: string): number | null {
  const match = /^link_(\d+)$/.exec(entry);
  return match === null ? null : Number(match[1]);
}

const generationsIn = (folder: string): readonly string[] =>
  listPins(folder).filter((entry) => /^\d+$/.test(entry));
