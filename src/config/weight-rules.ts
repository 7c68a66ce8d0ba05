/** A pool's weights must fit a table: who gets too small a share would get none that is right. */
import { ScheduleError } from "../schedule/schedule-error.ts";
import type { Member } from "../schedule/table.ts";
import { tableSize } from "../schedule/table-size.ts";
import type { Finding } from "./finding.ts";
import { places } from "./places.ts";
import type { DirectorDraft } from "./schema.ts";
import { defaultWeight } from "./schema.ts";

type BackendDraft = NonNullable<
  NonNullable<NonNullable<NonNullable<DirectorDraft["pools"]>[number]>["backends"]>[number]
>;

/** Speaks of pools only whose members could all be read: one weight decides what the others mean. */
export function* weightRules(draft: DirectorDraft): Generator<Finding> {
  for (const [path, { backends = [] }] of places(draft.pools, ["pools"])) {
    const members = membersOf(backends);
    if (members === undefined) continue;
    const problem = tableProblem(members);
    if (problem !== undefined) yield { path: [...path, "backends"], message: problem };
  }
}

/** Backends as members of a table; `undefined` when one could not be read. */
export function membersOf(
  backends: readonly (BackendDraft | undefined)[],
): readonly Member[] | undefined {
  const members = backends.flatMap((backend) => memberOf(backend) ?? []);
  return members.length === backends.length ? members : undefined;
}

function memberOf(backend: BackendDraft | undefined): Member | undefined {
  if (backend?.name === undefined) return undefined;
  if ("weight" in backend && backend.weight === undefined) return undefined;
  return { name: backend.name, weight: backend.weight ?? defaultWeight };
}

function tableProblem(members: Parameters<typeof tableSize>[0]): string | undefined {
  try {
    tableSize(members);
    return undefined;
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    // Names, counts and single weights have findings of their own, at better places.
    return error.code === "TABLE_SIZE" ? error.message : undefined;
  }
}
