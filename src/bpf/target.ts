/**
 * The kernel a program is compiled for. What needs more than the oldest one supported is a feature;
 * a target says which it has (`kernel/features.ts` asks the running kernel). What can be had without
 * the feature at the price of some instructions is (`lower.ts`), the rest is refused.
 */
import { type SourceLocation, shortName } from "./source.ts";

/** What kernels after Linux 6.1 added, and which one did. */
export const Feature = {
  cpuV4: { since: "6.6", what: "instruction set v4" },
  openCodedIterators: { since: "6.4", what: "open-coded iterators" },
  mayGoto: { since: "6.9", what: "may_goto" },
  arenas: { since: "6.9", what: "arenas" },
  fastCalls: { since: "6.12", what: "bpf_fastcall" },
  acquireRelease: { since: "6.15", what: "load-acquire and store-release" },
} as const;
export type FeatureName = keyof typeof Feature;
export type Target = Readonly<Record<FeatureName, boolean>>;

/** Linux 6.1. Programs for it run on every later kernel. */
export const OLDEST_TARGET: Target = {
  cpuV4: false,
  openCodedIterators: false,
  mayGoto: false,
  arenas: false,
  fastCalls: false,
  acquireRelease: false,
};

/** Everything the builder knows: Linux 6.15 and later. */
export const NEWEST_TARGET: Target = {
  cpuV4: true,
  openCodedIterators: true,
  mayGoto: true,
  arenas: true,
  fastCalls: true,
  acquireRelease: true,
};

/** A program uses what its target does not have. */
export class TargetError extends Error {
  override readonly name = "TargetError";
  readonly feature: FeatureName;
  /** The author's line. */
  readonly source: SourceLocation | null;

  constructor(what: string, feature: FeatureName, source: SourceLocation | null) {
    const { since, what: needed } = Feature[feature];
    const where = source === null ? "" : ` at ${shortName(source.file)}:${source.line}`;
    super(`Cannot ${what}${where}: ${needed} needed (Linux ${since}), and the target has none`);
    this.feature = feature;
    this.source = source;
  }
}
