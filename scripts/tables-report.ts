/**
 * Measures what docs/design/tables.md promises and prints its tables as Markdown, with plain Maglev
 * beside ours: `node scripts/tables-report.ts [shares|moves|outages|times] [cases] [seed]`.
 */
import { LiveTable } from "../src/schedule/live-table.ts";
import {
  mixes,
  randomFrom,
  randomPool,
  randomWeight,
  shuffled,
} from "../src/schedule/random-pools.ts";
import type { Mix, Random } from "../src/schedule/random-pools.ts";
import { buildTable, ownersOf } from "../src/schedule/table.ts";
import type { Member } from "../src/schedule/table.ts";

const COUNTS = [2, 3, 5, 10, 30, 100, 300, 500, 1000];
const MAGLEV_SIZE = 65_537;

const [, , only, casesText, seedText] = process.argv;
const cases = Number(casesText ?? 100);
const seed = Number(seedText ?? 1);
const sections = { shares, moves, outages, times };

for (const [name, print] of Object.entries(sections)) {
  if (only !== undefined && only !== name) continue;
  console.log(`\n<!-- ${name}: ${cases} cases a row, seed ${seed} -->\n`);
  print();
}

function header(...columns: string[]): void {
  row(...columns);
  row(...columns.map((_, i) => (i === 0 ? "---" : "--:")));
}

function row(...cells: (string | number)[]): void {
  console.log(`| ${cells.join(" | ")} |`);
}

function percent(part: number, digits = 2): string {
  return `${(100 * part).toFixed(digits)} %`;
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

function max(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), 0);
}

function countsOf(owners: ArrayLike<number>, members: number): Uint32Array {
  const counts = new Uint32Array(members);
  for (let i = 0; i < owners.length; i++) counts[owners[i]!]!++;
  return counts;
}

/** Per usable member: buckets over or under its share, in buckets and of the share. */
function deviations(owners: Uint16Array, pool: readonly Member[], usable: ReadonlySet<number>) {
  const counts = countsOf(owners, pool.length);
  let sum = 0;
  for (const member of usable) sum += pool[member]!.weight;
  return [...usable].map((member) => {
    const share = (owners.length * pool[member]!.weight) / sum;
    const buckets = Math.abs(counts[member]! - share);
    return { share, buckets, ratio: buckets / share };
  });
}

/** All up, and 1 % down: the largest part used of what is allowed. */
function shares(): void {
  header(
    "Members",
    ...mixes.map((mix) => `all up, ${mix}`),
    ...mixes.map((mix) => `1 % down, ${mix}`),
  );
  for (const count of COUNTS) {
    const up: number[] = [];
    const down: number[] = [];
    for (const mix of mixes) {
      const random = randomFrom(seed + count);
      const [worstUp, worstDown]: [number[], number[]] = [[], []];
      for (let i = 0; i < Math.ceil(cases / 10); i++) {
        const plan = buildTable(randomPool(count, mix, random));
        const all = new Set(plan.members.keys());
        for (const d of deviations(plan.base, plan.members, all)) {
          worstUp.push(d.buckets / Math.max(0.02 * d.share, 1));
        }
        for (let j = 0; j < (count < 100 ? 0 : 10); j++) {
          const usable = new Set(shuffled([...all], random).slice(Math.floor(count / 100)));
          for (const d of deviations(ownersOf(plan, usable), plan.members, usable)) {
            worstDown.push(d.buckets / Math.max(0.05 * d.share, 6));
          }
        }
      }
      up.push(max(worstUp));
      down.push(max(worstDown));
    }
    row(
      count,
      ...up.map((x) => percent(x, 0)),
      ...down.map((x) => (count < 100 ? "" : percent(x, 0))),
    );
  }
}

/** Buckets between members that are in both pools, when one is added (read backwards: removed). */
function moves(): void {
  header(
    "Members",
    ...mixes.map((mix) => `${mix}: mean, max`),
    ...mixes.map((mix) => `Maglev, ${mix}: mean, max`),
  );
  for (const count of COUNTS) {
    const cells: string[] = [];
    for (const [build, some] of [
      [(pool: Member[]) => buildTable(pool).base, cases],
      [maglev, Math.min(cases, 12)],
    ] as const) {
      for (const mix of mixes) {
        const moved = extraMoves(count, mix, some, build);
        cells.push(`${percent(mean(moved))}, ${percent(max(moved))}`);
      }
    }
    row(count, ...cells);
  }
}

/** A third of the cases add to a pool, another to the same pool, the last take one away from it. */
function extraMoves(
  count: number,
  mix: Mix,
  some: number,
  build: (pool: Member[]) => Uint16Array,
): number[] {
  const random = randomFrom(seed + count);
  const moved: number[] = [];
  while (moved.length < some) {
    const pool = randomPool(count, mix, random);
    const owners = build(pool);
    for (const name of ["new-1", "new-2"]) {
      const larger = build([...pool, { name, weight: randomWeight(mix, random) }]);
      moved.push(unneeded(owners, larger, count));
    }
    if (count > 2) moved.push(unneeded(build(pool.slice(0, -1)), owners, count - 1));
  }
  return moved;
}

function unneeded(smaller: Uint16Array, larger: Uint16Array, newcomer: number): number {
  const size = Math.max(smaller.length, larger.length);
  let moved = 0;
  for (let bucket = 0; bucket < size; bucket++) {
    const owner = larger[bucket % larger.length]!;
    if (owner !== newcomer && owner !== smaller[bucket % smaller.length]) moved++;
  }
  return moved / size;
}

/** Deviation from the weights of those still usable: 99th percentile and worst. */
function outages(): void {
  const parts = [0.01, 0.05, 0.1, 0.3, 0.5];
  header("Members", ...parts.map((part) => `${100 * part} % down: p99, max`));
  for (const mix of ["equal", "mixed"] as const) {
    for (const count of [10, 30, 100, 300, 1000]) {
      const random = randomFrom(seed + count);
      const cells = parts.map((part) => outage(count, mix, Math.floor(part * count), random));
      row(`${count}, ${mix}`, ...cells);
    }
  }
}

function outage(count: number, mix: Mix, down: number, random: Random): string {
  if (down === 0) return "";
  const ratios: number[] = [];
  for (let i = 0; i < Math.ceil(cases / 20); i++) {
    const plan = buildTable(randomPool(count, mix, random));
    for (let j = 0; j < 4; j++) {
      const usable = new Set(shuffled([...plan.members.keys()], random).slice(down));
      const all = deviations(ownersOf(plan, usable), plan.members, usable);
      ratios.push(...all.map(({ ratio }) => ratio));
    }
  }
  const sorted = ratios.toSorted((a, b) => a - b);
  const p99 = sorted[Math.floor(0.99 * (sorted.length - 1))]!;
  return `${percent(p99, 1)}, ${percent(max(sorted), 1)}`;
}

/** Third fastest of 21, as what else runs only adds; as ratios, since absolute times are the machine's. */
function times(): void {
  // Once to warm up.
  lowMs(() => timeBuild(100));
  const base = lowMs(() => timeBuild(100));
  header("Members", "build", "Maglev", "all owners, 10 % down", "one goes or comes back");
  for (const count of [10, 30, 100, 300, 500, 1000, 3000]) {
    const random = randomFrom(seed + count);
    const plan = buildTable(randomPool(count, "equal", random));
    const usable = new Set(shuffled([...plan.members.keys()], random).slice(count / 10));
    const live = new LiveTable(plan, plan.members.keys());
    let step = 0;
    const change = () => {
      const member = (step >> 1) % count;
      live.setUsable(member, (step++ & 1) === 1);
    };
    const cells = [
      lowMs(() => timeBuild(count)),
      lowMs(() => time(() => maglev(randomPool(count, "equal", random)))),
      lowMs(() => time(() => ownersOf(plan, usable))),
      lowMs(() => time(change)),
    ];
    row(count, ...cells.map((ms) => (ms / base).toPrecision(2)));
  }
  console.log(`\n1 is ${base.toFixed(1)} ms here.`);
}

function timeBuild(count: number): number {
  const pool = randomPool(count, "equal", randomFrom(seed + count + process.hrtime()[1]));
  return time(() => buildTable(pool));
}

function time(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

function lowMs(measure: () => number): number {
  const measured = Array.from({ length: 21 }, measure);
  return measured.toSorted((a, b) => a - b)[2]!;
}

/**
 * Plain Maglev (Eisenbud et al., NSDI 2016, section 3.4) with weights by skipped turns: members take
 * turns at their next free bucket, one of half the largest weight takes every second turn.
 */
function maglev(pool: readonly Member[]): Uint16Array {
  const owners = new Uint16Array(MAGLEV_SIZE).fill(0xffff);
  const heaviest = max(pool.map(({ weight }) => weight));
  const places = pool.map(({ name }) => hash(name, 1) % MAGLEV_SIZE);
  const skips = pool.map(({ name }) => (hash(name, 2) % (MAGLEV_SIZE - 1)) + 1);
  const credit = pool.map(() => 0);
  for (let left = MAGLEV_SIZE; left > 0; ) {
    for (const [member, { weight }] of pool.entries()) {
      credit[member]! += weight;
      if (credit[member]! < heaviest) continue;
      credit[member]! -= heaviest;
      let place = places[member]!;
      while (owners[place] !== 0xffff) place = (place + skips[member]!) % MAGLEV_SIZE;
      owners[place] = member;
      places[member] = place;
      if (--left === 0) break;
    }
  }
  return owners;
}

/** FNV-1a with a last mix. */
function hash(name: string, salt: number): number {
  let h = Math.imul(0x811c9dc5 ^ salt, 0x01000193);
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
