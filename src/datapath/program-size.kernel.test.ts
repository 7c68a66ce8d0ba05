/**
 * The size of every variant, against `sizes.txt`: a change that makes a program larger shows in its
 * diff. After a change meant to: UPDATE=1 node src/datapath/program-size.kernel.test.ts
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { test } from "node:test";
import { compile, type Program } from "../bpf/program.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { createMap } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { indexShape } from "../model/arena-size.ts";
import { defaultTunnels } from "../model/model.ts";
import { mac } from "../net/mac.ts";
import { agentMaps } from "./agent/maps.ts";
import { agentProgram } from "./agent/program.ts";
import { directorMaps } from "./director/maps.ts";
import { directorProgram } from "./director/program.ts";
import { DEFAULT_HASH_KEY, flowHashKey } from "./flow-hash.ts";
import { ForwardingCode } from "./layout.ts";

const TABLE = new URL("sizes.txt", import.meta.url);
const KERNEL = release().split(".").slice(0, 2).join(".");
/** A quarter of what the verifier walks before it gives up (include/linux/bpf.h, BPF_COMPLEXITY_LIMIT_INSNS). */
const VERIFIED_MAX = 250_000;

const families = ["ipv4", "ipv6", "ipv4 ipv6"];
const forwardings = ["l2", "ipipOverIpv4", "ipipOverIpv6"];
const subsets = [1, 2, 3, 4, 5, 6, 7].map((bits) =>
  forwardings.filter((_, index) => (bits & (1 << index)) !== 0).join(" "),
);
const combinations = families.flatMap((family) => subsets.map((subset) => `${family} ${subset}`));

interface Row {
  readonly name: string;
  readonly emitted: number;
  readonly xlated: number;
  readonly verified: number;
}

function directorWith(features: string): [Program, Iterable<Parameters<typeof createMap>[0]>] {
  const has = (feature: string): boolean => features.split(" ").includes(feature);
  const maps = directorMaps({
    arenaBytes: 1 << 20,
    index: indexShape(8, 8),
    counters: 32,
    cpus: 2,
  });
  const program = directorProgram({
    maps,
    hashKey: flowHashKey(DEFAULT_HASH_KEY),
    ifindex: 2,
    mac: mac("00:00:5e:00:53:01"),
    addresses: { ipv4: null, ipv6: null },
    tunnels: defaultTunnels,
    outerSources: { ipv4: null, ipv6: null },
    vlanTags: 0,
    features: {
      ipv4: has("ipv4"),
      ipv6: has("ipv6"),
      forwardings: Object.entries(ForwardingCode).flatMap(([name, code]) =>
        has(name) ? [code] : [],
      ),
      hashKeys: false,
      wideIpv4: null,
      wideIpv6: null,
    },
  });
  return [program, [maps.arena.map, maps.counters.map]];
}

function agentAlone(): [Program, Iterable<Parameters<typeof createMap>[0]>] {
  const maps = agentMaps(2);
  return [agentProgram(maps), [maps.directors, maps.vips, maps.counters.map]];
}

function measure(
  name: string,
  [program, specs]: [Program, Iterable<Parameters<typeof createMap>[0]>],
): Row {
  const image = compile(program);
  const maps = new Map(Array.from(specs, (spec) => [spec, createMap(spec)]));
  try {
    using loaded = loadProgram(image, (spec) => maps.get(spec)?.fd ?? -1);
    const { xlatedBytes, verifiedInstructions } = loaded.info();
    return {
      name,
      emitted: image.instructions.length / 8,
      xlated: xlatedBytes / 8,
      verified: verifiedInstructions,
    };
  } finally {
    for (const map of maps.values()) map.close();
  }
}

const line = (...cells: readonly (string | number)[]): string =>
  cells.map((cell, index) => (index < 3 ? String(cell).padStart(8) : String(cell))).join("  ");

/** A table without what depends on the kernel. */
const emittedOf = (table: string): string[] =>
  table
    .split("\n")
    .map((row) => row.replace(/^( *\d+) +\d+ +\d+/, "$1"))
    .slice(3);

function tableOf(rows: readonly Row[]): string {
  return [
    "Instructions of every program: as emitted, after the verifier's rewriting (xlated), and walked by",
    `the verifier (verified, at most ${VERIFIED_MAX}). xlated and verified are those of Linux ${KERNEL}.`,
    "",
    line("emitted", "xlated", "verified", "program"),
    ...rows.map(({ name, emitted, xlated, verified }) => line(emitted, xlated, verified, name)),
    "",
  ].join("\n");
}

test("every program has the size written down, and the verifier walks it in its budget", {
  skip,
}, (t) => {
  const rows = [
    measure("director with no service", directorWith("")),
    ...combinations.map((features) => measure(`director ${features}`, directorWith(features))),
    measure("agent", agentAlone()),
  ];
  for (const { name, verified } of rows) {
    assert.ok(verified <= VERIFIED_MAX, `${name}: the verifier walks ${verified} instructions`);
  }
  const now = tableOf(rows);
  if (process.env["UPDATE"] === "1") writeFileSync(TABLE, now);
  const written = readFileSync(TABLE, "utf8");
  if (written.includes(`those of Linux ${KERNEL}.`)) {
    assert.equal(now, written);
    return;
  }
  t.diagnostic(`sizes.txt is of another kernel than ${KERNEL}: only what we emit is compared`);
  assert.deepEqual(emittedOf(now), emittedOf(written));
});
