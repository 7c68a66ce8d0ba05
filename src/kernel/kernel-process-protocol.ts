/**
 * What passes between `KernelProcess` and its process: one request, one answer. File descriptors do
 * not cross, so objects are named by their pins; functions do not either, so a map is named by its
 * name and shape.
 */
import type { MapSpec, ProgramImage } from "../bpf/image.ts";
import type { PlainKernelError } from "./errors.ts";
import type { TcxDirection, XdpMode } from "./links.ts";

export interface LoadProgramOptions {
  readonly image: ProgramImage;
  /** Pin of each map of the image, by the map's name. */
  readonly maps: Readonly<Record<string, string>>;
  /** Where the program is pinned, in place of what is pinned there. */
  readonly pin: string;
  /** As in `LoadOptions`. */
  readonly fragments?: boolean;
}

export interface LoadedProgram {
  readonly id: number;
  readonly verifiedInstructions: number;
  readonly xlatedBytes: number;
  readonly jitedBytes: number;
}

export interface AttachXdpOptions {
  readonly ifindex: number;
  readonly programPin: string;
  readonly linkPin: string;
  readonly mode: XdpMode;
}

export interface AttachTcxOptions {
  readonly ifindex: number;
  readonly programPin: string;
  readonly linkPin: string;
  readonly direction: TcxDirection;
}

export interface ReplaceProgramOptions {
  readonly linkPin: string;
  readonly programPin: string;
  /** Only if the link still runs this program. */
  readonly expectedProgramPin?: string;
}

/** The calls, by name: what goes in and what comes out. */
export interface Calls {
  readonly loadProgram: { readonly in: LoadProgramOptions; readonly out: LoadedProgram };
  readonly attachXdp: { readonly in: AttachXdpOptions; readonly out: void };
  readonly attachTcx: { readonly in: AttachTcxOptions; readonly out: void };
  readonly replaceProgram: { readonly in: ReplaceProgramOptions; readonly out: void };
  readonly detach: { readonly in: { readonly linkPin: string }; readonly out: void };
  readonly gracePeriod: { readonly in: null; readonly out: void };
}
export type CallName = keyof Calls;

export interface Request<Name extends CallName = CallName> {
  readonly id: number;
  readonly call: Name;
  readonly options: Calls[Name]["in"];
}

export type Answer =
  | { readonly kind: "ready" }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown }
  | { readonly kind: "fault"; readonly id: number; readonly error: PlainKernelError }
  /** Something other than a `KernelError` was thrown. */
  | { readonly kind: "bug"; readonly id: number; readonly error: Error };

/** The image without the functions of its layouts, which structured cloning refuses. */
export const cloneable = (image: ProgramImage): ProgramImage => ({
  ...image,
  maps: image.maps.map(({ instruction, map }) => ({ instruction, map: withoutLayout(map) })),
});

function withoutLayout({ name, type, keySize, valueSize, maxEntries, flags }: MapSpec): MapSpec {
  return { name, type, keySize, valueSize, maxEntries, flags, value: null };
}
