/**
 * `npm run bench`: what the director costs, a packet at a time. docs/benchmarks.md explains the method,
 * the cases and how to read the figures.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { type Case, cases } from "./cases.ts";
import { clangVersion } from "./clang.ts";
import { compare } from "./comparison.ts";
import { comparisonJson, formatComparison } from "./comparison-report.ts";
import { type Kept, keep } from "./keep.ts";
import { machine } from "./machine.ts";
import { measure, PACKETS_MIN } from "./measure.ts";
import { oracles } from "./oracles.ts";
import { packetRates } from "./pps.ts";
import { caseReport, formatRates, formatReport, goalsOf, type Report } from "./report.ts";
import { Stage, type Subject } from "./subject.ts";
import { firstFrame } from "./traffic.ts";
import { worldKey } from "./world.ts";

interface Options {
  readonly json?: true;
  readonly quick?: true;
  readonly pps?: true;
  readonly clang?: true;
  readonly cases?: RegExp;
  readonly rounds: number;
  readonly packets: number;
  readonly keep?: string;
}

async function main(args: readonly string[]): Promise<number> {
  const command = new Command("npm run bench --")
    .description("Measures what the director costs, in nanoseconds a packet")
    .option("--json", "print JSON")
    .option("--quick", "l2, ipip and pass over IPv4 only, at 1 and 1 000 000 flows")
    .option("--pps", "packets per second through a veth pair instead, beside bare XDP_TX")
    .option("--clang", "the builder's programs beside clang -O2 of the same logic instead")
    .option(
      "--cases <regex>",
      'only cases whose name, or name and flows ("l2 ipv4 1000"), match',
      regex,
    )
    .option("--rounds <n>", "rounds", count(1), 15)
    .option("--packets <n>", "packets of each program in each round", count(PACKETS_MIN), 1_000_000)
    .option("--keep <folder>", "leave the director pinned there, filled as for the case")
    .allowExcessArguments(false)
    .exitOverride();
  try {
    command.parse(args, { from: "user" });
    return await run(command.opts<Options>());
  } catch (error) {
    // Commander has printed its own; it counts wrong usage as 1.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof UsageError) console.error(`bench: ${error.message}`);
    else console.error(error instanceof Error ? `bench: ${error.message}` : error);
    return error instanceof UsageError ? 2 : 1;
  }
}

class UsageError extends Error {}

async function run(options: Options): Promise<number> {
  if (options.clang === true) return await showComparison(options);
  const chosen = chooseCases(options);
  if (options.keep !== undefined) requireOneDirector(chosen, options.keep);
  using stage = new Stage();
  if (options.pps === true) return await showRates(stage, chosen, options);
  const subjects: Subject[] = [];
  for (const each of chosen) subjects.push(await stage.subject(each, options.quick !== true));
  const kept = options.keep === undefined ? undefined : keepFirst(subjects, options.keep);
  const measured = measure(stage, subjects, {
    rounds: options.rounds,
    packets: options.packets,
    onRound: (round) => progress(`round ${round} of ${options.rounds}`),
  });
  progress("");
  const { rounds, packets } = options;
  const reports = measured.map((each) => caseReport(each, packets));
  const goals = goalsOf(reports);
  const report: Report = { machine: machine(), rounds, packets, cases: reports, goals };
  if (options.json === true) console.log(JSON.stringify({ ...report, ...(kept && { kept }) }));
  else console.log([formatReport(report), ...(kept ? keptLines(kept) : [])].join("\n"));
  return 0;
}

async function showComparison({ json, cases: pattern, rounds, packets }: Options): Promise<number> {
  const clang = clangVersion();
  if (clang === null) {
    const why = "clang that knows BPF is not installed: nothing is compared";
    console.log(json === true ? JSON.stringify({ clang, why, comparisons: null }) : why);
    return 0;
  }
  const chosen = oracles.filter(({ name }) => pattern === undefined || pattern.test(name));
  if (chosen.length === 0) {
    const names = oracles.map(({ name }) => name).join(", ");
    throw new UsageError(`no program matches ${String(pattern)}; there are ${names}`);
  }
  using stage = new Stage();
  const comparisons = await compare(stage, chosen, {
    rounds,
    packets,
    onRound: (round) => progress(`round ${round} of ${rounds}`),
  });
  progress("");
  const report = { machine: machine(), clang, rounds, packets, comparisons };
  console.log(json === true ? comparisonJson(report) : formatComparison(report));
  return 0;
}

async function showRates(
  stage: Stage,
  chosen: readonly Case[],
  { json, rounds, packets }: Options,
): Promise<number> {
  const rates = await packetRates(stage, chosen, { rounds, packets });
  const facts = machine();
  console.log(
    json === true ? JSON.stringify({ machine: facts, pps: rates }) : formatRates(facts, rates),
  );
  return 0;
}

function chooseCases({ quick, pps, cases: pattern }: Options): readonly Case[] {
  const chosen = cases.filter(
    ({ name, traffic, reason, quick: inQuick }) =>
      (quick !== true || inQuick) &&
      (pps !== true || (reason === "forwarded" && (inQuick || pattern !== undefined))) &&
      (pattern === undefined || pattern.test(name) || pattern.test(`${name} ${traffic.flows}`)),
  );
  if (chosen.length > 0) return chosen;
  const names = [...new Set(cases.map(({ name }) => name))].join(", ");
  throw new UsageError(`no case matches ${String(pattern)}; there are ${names}`);
}

/** A folder holds one director. @throws {UsageError} when the cases have several */
function requireOneDirector(chosen: readonly Case[], folder: string): void {
  const names = new Map(chosen.map(({ name, world }) => [worldKey(world), name]));
  if (names.size <= 1) return;
  throw new UsageError(
    `cannot keep several directors in "${folder}": ${[...names.values()].join(", ")}; choose with --cases '^${chosen[0]?.name}$'`,
  );
}

function keepFirst([first]: readonly Subject[], folder: string): Kept | undefined {
  return first && keep(first.director, firstFrame(first.case.traffic), folder);
}

const keptLines = ({ folder, program, maps, packet }: Kept): readonly string[] => [
  "",
  `Kept in ${folder}: ${[program, ...maps].join(", ")}`,
  `The frame of flow 0: ${packet}`,
];

/** One line that is written over, where somebody looks at it. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function regex(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new InvalidArgumentError("It is no regular expression.");
  }
}

const count =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least || value > 1e9) {
      throw new InvalidArgumentError(`A whole number from ${least} to 1 000 000 000 is needed.`);
    }
    return value;
  };

process.exitCode = await main(process.argv.slice(2));
