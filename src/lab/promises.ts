/** What a demo promises, and whether it held. Pure. */
import { formatBytes, formatCount, formatShare } from "./figures.ts";
import type { BackendFigures, DemoFigures } from "./demo-state.ts";

export interface PromiseResult {
  readonly name: string;
  readonly held: boolean;
  /** What was measured, and against what. */
  readonly detail: string;
}

/** The director's outgoing bytes, of those the client received. */
const BYPASS_LIMIT = 0.1;
/** A table's counts are within 2 % of the weights (schedule/balance.ts). */
const TABLE_TOLERANCE = 0.02;
/** Chance alone exceeds this once in 16 000 times. */
const STANDARD_DEVIATIONS = 4;

export interface Aftermath {
  /** Processes, programs and interfaces that are still there. */
  readonly left: readonly string[];
}

export function judge(figures: DemoFigures, { left }: Aftermath): readonly PromiseResult[] {
  const errors = Object.entries(figures.errors);
  const bypass = figures.directorOutBytes / figures.clientInBytes;
  const offWeight = figures.backends.filter((backend) => !isNearWeight(backend, figures));
  return [
    {
      name: "no errors",
      held: errors.length === 0 && figures.requests > 0,
      detail:
        errors.length === 0
          ? `${formatCount(figures.requests)} requests; every byte of ${formatCount(figures.downloads)} downloads of 1 MB compared`
          : errors.map(([kind, count]) => `${count} x ${kind}`).join(", "),
    },
    {
      name: "nothing dropped",
      held: figures.dropped === 0,
      detail: `${formatCount(figures.dropped)} of ${formatCount(figures.packets)} packets at the director`,
    },
    {
      name: "flows follow the table",
      held: figures.misplaced === 0 && figures.connections > 0,
      detail: `${formatCount(figures.connections - figures.misplaced)} of ${formatCount(figures.connections)} connections went to the backend that hash and table name`,
    },
    {
      name: "shares follow weights",
      held: offWeight.length === 0,
      detail: figures.backends
        .map(
          ({ name, flowShare, weightShare }, index) =>
            `${name} ${formatShare(flowShare)} (${index === 0 ? "weight " : ""}${formatShare(weightShare)})`,
        )
        .join(", "),
    },
    {
      name: "others kept their flows",
      held: figures.keptBroken === 0 && figures.keptOthers > 0 && figures.keptMoved > 0,
      detail: `${figures.keptOthers - figures.keptBroken} of ${figures.keptOthers} kept connections of the others never broke; those of the one that went and came back did (${figures.keptMoved} kept, ${figures.moved - figures.keptMoved} short): there is no hand-over yet`,
    },
    {
      name: "answers bypass it",
      held: bypass < BYPASS_LIMIT,
      detail: `the director sent ${formatShare(bypass)} of what the client received: ${formatBytes(figures.directorOutBytes)} for ${formatBytes(figures.clientInBytes)}`,
    },
    {
      name: "everything taken down",
      held: left.length === 0,
      detail: left.length === 0 ? "no process, program or interface is left" : left.join(", "),
    },
  ];
}

/** Each connection falls to a backend by chance of its share. */
function isNearWeight({ flowShare, weightShare }: BackendFigures, { backends }: DemoFigures) {
  const flows = backends.reduce((sum, backend) => sum + backend.flows, 0);
  const deviation = Math.sqrt((weightShare * (1 - weightShare)) / Math.max(1, flows));
  const tolerance = STANDARD_DEVIATIONS * deviation + TABLE_TOLERANCE * weightShare;
  return Math.abs(flowShare - weightShare) <= tolerance;
}
