/**
 * A feature that is not configured costs no instruction. Every feature is added to the least program
 * (`l2` over IPv4) and left out of the one with all of them: what that makes of the program, and of
 * the instructions that a packet forwarded by `l2` runs through, is in `feature-cost.txt`, against which
 * this is held. And no instruction of a program comes from the source of a feature that it is without.
 *
 * After a change meant to: UPDATE=1 node src/apply/feature-cost.test.ts
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { Arena } from "./arena.ts";
import {
  BACKEND_MAC,
  DIRECTOR_MAC,
  HASH_KEY,
  IFINDEX,
  macOf,
  ownersOf,
  stateOf,
  VIP,
} from "./director-fixture.ts";
import { DirectorTables } from "./director-tables.ts";
import { Helper, helperName } from "../bpf/helpers.ts";
import type { ProgramImage, SourceLine } from "../bpf/image.ts";
import { interpret } from "../bpf/interpreter-fixture.ts";
import { CallKind, Class, decodeInstructions, type Instruction, Jump } from "../bpf/isa.ts";
import { compile } from "../bpf/program.ts";
import { XDP_TX } from "../bpf/xdp.ts";
import { defaultTunnels } from "../model/model.ts";
import { vip } from "../model/service-fixture.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { eth } from "../packet/build.ts";
import { arenaBytesFor, indexShapeFor } from "../plan/desired-state.ts";
import { ForwardingCode } from "../datapath/layout.ts";
import { directorMaps, trafficCounter } from "../datapath/director/maps.ts";
import { directorProgram } from "../datapath/director/program.ts";

const TABLE = new URL("feature-cost.txt", import.meta.url);

/** Whether an instruction is a feature's, by the line it comes from. */
type Trace = (line: SourceLine, instruction: Instruction) => boolean;

interface Feature {
  readonly name: string;
  readonly trace: Trace;
  /** What it does nothing without. */
  readonly needs?: readonly string[];
}

const inFile =
  (file: string, text: RegExp = /./): Trace =>
  (line) =>
    line.file.endsWith(`/${file}`) && text.test(line.text);

/** In a function of a file, or in several of them. */
function inFunctions(file: string, ...names: readonly string[]): Trace {
  const source = readFileSync(
    new URL(`../datapath/director/${file}`, import.meta.url),
    "utf8",
  ).split("\n");
  const ranges = names.map((name) => {
    const first = source.findIndex((line) => line.startsWith(`function ${name}(`));
    const last = source.indexOf("}", first);
    assert.ok(first >= 0 && last > first, `${file} has a function ${name}()`);
    return [first + 1, last + 1] as const;
  });
  return (line) =>
    line.file.endsWith(`/director/${file}`) &&
    ranges.some(([first, last]) => line.line >= first && line.line <= last);
}

/** Where a member's forwarding is asked for. */
const asksFor =
  (code: ForwardingCode): Trace =>
  (line, { imm }) =>
    line.text.includes("forwarding.eq(code)") && imm === code;

const tunnel = (name: keyof typeof ForwardingCode): Feature => ({
  name,
  trace: asksFor(ForwardingCode[name]),
});

const features: readonly Feature[] = [
  { name: "ipv4", trace: inFile("ipv4.ts") },
  { name: "l2", trace: inFunctions("forward.ts", "emitL2", "emitL2Elsewhere") },
  { name: "ipv6", trace: inFile("ipv6.ts") },
  tunnel("ipipOverIpv4"),
  tunnel("ipipOverIpv6"),
  tunnel("greOverIpv4"),
  tunnel("greOverIpv6"),
  tunnel("fouOverIpv4"),
  tunnel("fouOverIpv6"),
  tunnel("gueOverIpv4"),
  tunnel("gueOverIpv6"),
  { name: "dscp", trace: inFile("dscp.ts") },
  { name: "hashKeys", trace: inFunctions("find-service.ts", "emitSourcePort") },
  { name: "wideIpv4", trace: inFile("find-service.ts", /and\(view\.getUint32/) },
  { name: "wideIpv6", trace: inFile("find-service.ts", /view\.getBigUint64/), needs: ["ipv6"] },
  {
    name: "vlanTags",
    trace: (line) =>
      /\/(vlan-tags|frame|time-exceeded)\.ts$/.test(line.file) && /tag/i.test(line.text),
  },
  { name: "udpChecksum", trace: inFile("udp-checksum.ts"), needs: ["fouOverIpv4"] },
  {
    name: "outerSources",
    trace: inFile("outer-source.ts", /host|mask/),
    needs: ["ipipOverIpv4"],
  },
  {
    name: "answers",
    trace: (line) =>
      /\/(time-exceeded|limit)\.ts$/.test(line.file) &&
      line.text !== "p.goto(leave.time_exceeded_silent);",
    needs: ["ipipOverIpv4"],
  },
];
const LEAST = ["ipv4", "l2"];
const ALL = features.map(({ name }) => name);

const state = stateOf(["l2"], [VIP]);
const maps = directorMaps({
  arenaBytes: arenaBytesFor(state),
  index: indexShapeFor(state),
  counters: trafficCounter(2),
  cpus: 1,
});

const images = new Map<string, ProgramImage>();

/** Compiled once: the largest programs take a second. */
function imageWith(names: readonly string[]): ProgramImage {
  const key = names.toSorted().join();
  const made = images.get(key) ?? compiledWith(names);
  images.set(key, made);
  return made;
}

function compiledWith(names: readonly string[]): ProgramImage {
  const has = (name: string): boolean => names.includes(name);
  const program = directorProgram({
    maps,
    hashKey: HASH_KEY,
    ifindex: IFINDEX,
    mac: mac(DIRECTOR_MAC),
    addresses: has("answers")
      ? { ipv4: ip("198.51.100.2"), ipv6: ip("2001:db8::2") }
      : { ipv4: null, ipv6: null },
    tunnels: { ...defaultTunnels, udpChecksum: has("udpChecksum") },
    outerSources: has("outerSources")
      ? { ipv4: vip("10.0.0.0/8"), ipv6: vip("2001:db8:9::/96") }
      : { ipv4: null, ipv6: null },
    vlanTags: has("vlanTags") ? 2 : 0,
    features: {
      ipv4: has("ipv4"),
      ipv6: has("ipv6"),
      forwardings: Object.entries(ForwardingCode).flatMap(([name, code]) =>
        has(name) ? [code] : [],
      ),
      hashKeys: has("hashKeys"),
      wideIpv4: has("wideIpv4") ? { anchorBits: 8, levels: 3 } : null,
      wideIpv6: has("wideIpv6") ? { anchorBits: 32, levels: 12 } : null,
    },
  });
  return compile(program);
}

const emitted = (image: ProgramImage): number => image.instructions.length / 8;

/** Instructions of an image that are a feature's. */
function traces(image: ProgramImage, { trace }: Feature): readonly string[] {
  const instructions = decodeInstructions(image.instructions);
  let line: SourceLine | undefined;
  const lines = new Map(image.lines.map((each) => [each.instruction, each]));
  return instructions.flatMap((instruction, index) => {
    line = lines.get(index) ?? line;
    return line !== undefined && trace(line, instruction)
      ? [`${index}: ${line.text} (${line.file}:${line.line})`]
      : [];
  });
}

const arena = new Uint8Array(maps.arena.map.valueSize);
before(async () => {
  const tables = new DirectorTables(
    new Arena(arena.subarray(0, maps.arena.size), async () => {}),
    { index: maps.index, hashKey: HASH_KEY, outerSources: { ipv4: null, ipv6: null } },
    macOf,
  );
  await tables.publish(state, ownersOf);
});

/** Instructions that a packet for an `l2` service runs through; it must come out as it should. */
function executed(image: ProgramImage): number {
  const frame = eth("00:00:5e:00:53:fe", DIRECTOR_MAC).ipv4("198.51.100.77", VIP).tcp();
  const expected = eth(DIRECTOR_MAC, BACKEND_MAC).ipv4("198.51.100.77", VIP).tcp();
  const counters = new Uint8Array(maps.counters.map.valueSize);
  const values = new Map([
    [maps.arena.map, arena],
    [maps.counters.map, counters],
    [maps.limits, new Uint8Array(maps.limits.valueSize)],
  ]);
  const helpers = new Map([[Helper.getSmpProcessorId.id, () => 0n]]);
  const { verdict, executed: count } = interpret(image, { frame, values, helpers });
  assert.equal(verdict, XDP_TX);
  assert.deepEqual(frame, expected);
  const counted = new BigUint64Array(counters.buffer).filter((value) => value !== 0n);
  const one = [1n, BigInt(frame.length)];
  assert.deepEqual([...counted], [...one, ...one], "service and member count one packet");
  return count;
}

for (const feature of features) {
  test(`no instruction is of ${feature.name} where that is not configured`, () => {
    assert.notEqual(traces(imageWith(ALL), feature).length, 0, "configured it has some");
    const without = ALL.filter((name) => name !== feature.name);
    assert.deepEqual(traces(imageWith(without), feature), [], "all others are configured");
    if (!LEAST.includes(feature.name)) {
      assert.deepEqual(traces(imageWith(LEAST), feature), [], "nothing else is configured");
    }
  });
}

test("a feature taken away again leaves the program as it was", () => {
  const least = Buffer.from(imageWith(LEAST).instructions);
  for (const { name, needs = [] } of features.filter(({ name }) => !LEAST.includes(name))) {
    const added = [...LEAST, ...needs, name];
    assert.notDeepEqual(Buffer.from(imageWith(added).instructions), least, name);
    const left = added.filter((each) => LEAST.includes(each));
    assert.deepEqual(Buffer.from(compiledWith(left).instructions), least, name);
  }
});

test("the least program has one helper and two maps", () => {
  const { instructions, maps: used } = imageWith(LEAST);
  const helpers = decodeInstructions(instructions)
    .filter(({ code, src }) => code === (Class.JMP | Jump.call) && src === CallKind.HELPER)
    .map(({ imm }) => helperName(imm));
  // By another interface a packet goes by `bpf_redirect`; the CPU's number the kernel inlines.
  assert.deepEqual([...new Set(helpers)].toSorted(), ["bpf_get_smp_processor_id", "bpf_redirect"]);
  assert.deepEqual([...new Set(used.map(({ map }) => map.name))].toSorted(), [
    "carom_arena",
    "carom_counters",
  ]);
});

test("limits of errors are in no program that answers none", () => {
  const without = imageWith(ALL.filter((name) => name !== "answers"));
  assert.ok(without.maps.every(({ map }) => map !== maps.limits));
  assert.ok(imageWith(ALL).maps.some(({ map }) => map === maps.limits));
});

test("every feature costs what is written down", () => {
  const now = table();
  if (process.env["UPDATE"] === "1") writeFileSync(TABLE, now);
  assert.equal(now, readFileSync(TABLE, "utf8"));
});

function table(): string {
  const [least, all] = [imageWith(LEAST), imageWith(ALL)];
  const rows = features.map(({ name, needs = [] }) => {
    if (LEAST.includes(name)) return [name, "", "", "", ""];
    const base = imageWith([...LEAST, ...needs]);
    const alone = imageWith([...LEAST, ...needs, name]);
    const others = imageWith(ALL.filter((each) => each !== name));
    return [
      name,
      more(emitted(alone) - emitted(base)),
      more(executed(alone) - executed(base)),
      more(emitted(all) - emitted(others)),
      more(executed(all) - executed(others)),
    ];
  });
  const whole = [
    ["least: ipv4 l2", emitted(least), executed(least), "", ""],
    ["all", "", "", emitted(all), executed(all)],
  ];
  return [
    "What features add where they are configured: instructions of the program, and of those that a TCP",
    "packet runs through which `l2` forwards over IPv4 (a wide immediate is two in the program, and one",
    "that runs). Alone: beside the least program and what the feature needs. Last: beside all others.",
    "Where a feature is not configured it adds none.",
    "",
    row(["", "alone", "", "last", ""]),
    row(["feature", "emitted", "executed", "emitted", "executed"]),
    ...[...whole, ...rows.filter(([, alone]) => alone !== "")].map(row),
    "",
  ].join("\n");
}

const more = (count: number): string => (count > 0 ? `+${count}` : String(count));

const row = (cells: readonly (string | number)[]): string =>
  cells
    .map((cell, index) => (index === 0 ? String(cell).padEnd(16) : String(cell).padStart(9)))
    .join("")
    .trimEnd();
