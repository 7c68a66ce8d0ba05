/**
 * Gives virtual registers physical ones so that no two neighbours share one (Chaitin and Briggs,
 * "Improvements to graph coloring register allocation", 1994): registers that only save a move are
 * merged where that cannot make colouring harder, then the graph is taken apart, easiest register
 * first, and coloured in reverse. What finds no colour is for `spill.ts`.
 */
import type { Register } from "./ir.ts";
import type { Interference } from "./interference.ts";
import type { SpillCosts } from "./spill.ts";

export interface Colouring {
  /** Physical register by virtual one; -1 for those without. */
  readonly physical: Int8Array;
  /** Groups of merged registers that found no colour, the first that failed first. */
  readonly failed: readonly (readonly Register[])[];
}

/** Free caller-saved registers first: r6 to r9 cost the prologue a push each. r1 and up fill with arguments. */
const PREFERENCE = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9] as const;

export function colour(
  graph: Interference,
  registersMax: number,
  { pieces, whole }: SpillCosts,
): Colouring {
  const groups = merged(graph, registersMax);
  const { nodes, find } = groups;
  const physical = new Int8Array(graph.neighbours.length).fill(-1);
  const failed: Register[][] = [];
  const wishes = wishesOf(graph, find);
  const partners = partnersOf(graph, find);
  for (const node of takenApart(groups, pieces, whole).toReversed()) {
    const group = nodes.get(node) as Group;
    const taken = new Set([...group.neighbours].map((other) => physical[other]));
    const free = PREFERENCE.filter(
      (candidate) => (group.allowed & (1 << candidate)) !== 0 && !taken.has(candidate),
    );
    if (free.length === 0) {
      failed.push(group.members);
      continue;
    }
    const value = (candidate: number): number => {
      let total = wishes.get(node)?.[candidate] ?? 0;
      for (const [partner, weight] of partners.get(node) ?? []) {
        const colour = physical[partner] ?? -1;
        if (colour === candidate) total += weight;
        // Not coloured yet: what it would like, it may get.
        else if (colour < 0) total += Math.min(weight, wishes.get(partner)?.[candidate] ?? 0) / 2;
      }
      return total;
    };
    physical[node] = free.reduce((best, other) => (value(other) > value(best) ? other : best));
  }
  for (const register of graph.mentioned) physical[register] = physical[find(register)] ?? -1;
  return { physical, failed };
}

interface Group {
  readonly members: Register[];
  readonly neighbours: Set<Register>;
  /** A bit for each physical register it may have. */
  allowed: number;
}

interface Groups {
  readonly nodes: ReadonlyMap<Register, Group>;
  /** The register that stands for the group of one. */
  readonly find: (register: Register) => Register;
}

/** Merges what saves a move, if the result is as easy to colour as its parts (Briggs's test). */
function merged(graph: Interference, registersMax: number): Groups {
  const all = (1 << registersMax) - 1;
  const parent = new Map<Register, Register>();
  const find = (register: Register): Register => {
    let at = register;
    for (let up = parent.get(at); up !== undefined; up = parent.get(at)) at = up;
    return at;
  };
  const nodes = new Map<Register, Group>();
  for (const register of graph.mentioned) {
    nodes.set(register, {
      members: [register],
      neighbours: new Set(graph.neighbours[register]),
      allowed: all & ~(graph.forbidden[register] ?? 0),
    });
  }
  for (const { first, second } of graph.affinities.toSorted((a, b) => b.weight - a.weight)) {
    const [keep, gone] = [find(first), find(second)];
    const [into, from] = [nodes.get(keep), nodes.get(gone)];
    if (keep === gone || into === undefined || from === undefined) continue;
    if (into.neighbours.has(gone)) continue;
    const allowed = into.allowed & from.allowed;
    const neighbours = new Set([...into.neighbours, ...from.neighbours]);
    let hard = 0;
    for (const other of neighbours) {
      const node = nodes.get(other) as Group;
      const shared = into.neighbours.has(other) && from.neighbours.has(other);
      const degree = node.neighbours.size - (shared ? 1 : 0);
      if (degree >= bitCount(node.allowed)) hard += 1;
    }
    if (hard >= bitCount(allowed)) continue;
    for (const other of from.neighbours) {
      const node = nodes.get(other) as Group;
      node.neighbours.delete(gone);
      node.neighbours.add(keep);
      into.neighbours.add(other);
    }
    into.members.push(...from.members);
    into.allowed = allowed;
    nodes.delete(gone);
    parent.set(gone, keep);
  }
  return { nodes, find };
}

/** The order to take the graph apart in: what is sure of a colour whatever comes after it goes first. */
function takenApart(
  { nodes }: Groups,
  pieces: SpillCosts["pieces"],
  whole: SpillCosts["whole"],
): Register[] {
  const degrees = new Map([...nodes].map(([node, { neighbours }]) => [node, neighbours.size]));
  const summed = (costs: Float64Array): ReadonlyMap<Register, number> =>
    new Map(
      [...nodes].map(([node, { members }]) => [
        node,
        members.reduce((sum, member) => sum + (costs[member] ?? 0), 0),
      ]),
    );
  const [inTheWay, spilled] = [summed(pieces), summed(whole)];
  const room = new Map([...nodes].map(([node, { allowed }]) => [node, bitCount(allowed)]));
  const left = new Set(nodes.keys());
  const order: Register[] = [];
  while (left.size > 0) {
    let easy: Register | null = null;
    let hardest: Register | null = null;
    let [easyCost, hardestCost] = [Infinity, Infinity];
    for (const node of left) {
      const degree = degrees.get(node) as number;
      const cost = inTheWay.get(node) as number;
      if (degree < (room.get(node) as number)) {
        // What matters least goes first, and is coloured last.
        if (easy === null || cost < easyCost) [easy, easyCost] = [node, cost];
      } else if (easy === null) {
        const ratio = (spilled.get(node) as number) / degree;
        if (hardest === null || ratio < hardestCost) [hardest, hardestCost] = [node, ratio];
      }
    }
    const next = easy ?? hardest;
    if (next === null) break;
    order.push(next);
    left.delete(next);
    for (const other of nodes.get(next)?.neighbours ?? []) {
      degrees.set(other, (degrees.get(other) as number) - 1);
    }
  }
  return order;
}

function wishesOf(
  { wishes }: Interference,
  find: (register: Register) => Register,
): ReadonlyMap<Register, readonly number[]> {
  const out = new Map<Register, number[]>();
  for (const [register, wanted] of wishes) {
    const node = find(register);
    const sum = out.get(node);
    out.set(node, sum === undefined ? [...wanted] : sum.map((w, at) => w + (wanted[at] ?? 0)));
  }
  return out;
}

function partnersOf(
  { affinities }: Interference,
  find: (register: Register) => Register,
): ReadonlyMap<Register, readonly (readonly [Register, number])[]> {
  const out = new Map<Register, [Register, number][]>();
  const add = (node: Register, partner: Register, weight: number): void => {
    const partners = out.get(node);
    if (partners === undefined) out.set(node, [[partner, weight]]);
    else partners.push([partner, weight]);
  };
  for (const { first, second, weight } of affinities) {
    const [one, other] = [find(first), find(second)];
    if (one === other) continue;
    add(one, other, weight);
    add(other, one, weight);
  }
  return out;
}

function bitCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
