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
import { vip } from "../model/service-fixture.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { agentMaps } from "./agent/maps.ts";
import { agentVariant, type AgentTables, mapsOf } from "./agent/contents.ts";
import { agentProgram, agentTcProgram } from "./agent/program.ts";
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

/** What goes beyond those, each alone and all together. */
const tunnels =
  "ipipOverIpv4 ipipOverIpv6 greOverIpv4 greOverIpv6 fouOverIpv4 fouOverIpv6 gueOverIpv4 gueOverIpv6";
const extras = [
  "greOverIpv4 greOverIpv6",
  "fouOverIpv4 fouOverIpv6",
  "gueOverIpv4 gueOverIpv6",
  "dscp",
  "l2 hashKeys",
  "l2 wide",
  "l2 vlanTags",
  `l2 ${tunnels} dscp`,
  `l2 ${tunnels} dscp udpChecksum`,
  `l2 ${tunnels} dscp answers`,
  `l2 ${tunnels} dscp outerSources`,
  `l2 ${tunnels} dscp hashKeys wide vlanTags udpChecksum answers outerSources`,
];

const dscp = [{ address: ip("198.51.100.11"), vips: [ip("192.0.2.1")] }];

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
      // From /8 and /32 to whole addresses: the most levels that anybody is likely to need.
      wideIpv4: has("wide") ? { anchorBits: 8, levels: 3 } : null,
      wideIpv6: has("wide") ? { anchorBits: 32, levels: 12 } : null,
    },
  });
  return [program, [maps.arena.map, maps.counters.map, maps.limits]];
}

/** Agents by what they are configured for. */
const agents: readonly {
  readonly name: string;
  readonly tables: Partial<AgentTables>;
  readonly vlanTags: number;
}[] = [
  { name: "agent", tables: {}, vlanTags: 0 },
  { name: "agent with prefixes", tables: { vips: [vip("192.0.2.0/24")] }, vlanTags: 0 },
  {
    name: "agent with prefixes of directors",
    tables: { directors: [vip("198.51.100.0/24")] },
    vlanTags: 0,
  },
  { name: "agent with dscp", tables: { dscp }, vlanTags: 0 },
  { name: "agent with VLAN tags", tables: {}, vlanTags: 2 },
  {
    name: "agent with everything",
    tables: { vips: [vip("192.0.2.0/24")], directors: [vip("198.51.100.0/24")], dscp },
    vlanTags: 2,
  },
];

function agentWith(
  tables: Partial<AgentTables>,
  vlanTags: number,
  build = agentProgram,
): [Program, Iterable<Parameters<typeof createMap>[0]>] {
  const none = { vips: [], directors: [], tunnels: defaultTunnels, dscp: [] };
  const variant = agentVariant(agentMaps(2), { ...none, ...tables }, vlanTags);
  return [build(variant), mapsOf(variant)];
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
    ...extras.map((extra) => {
      const features = `ipv4 ipv6 ${extra}`;
      return measure(`director ${features}`, directorWith(features));
    }),
    ...agents.map(({ name, tables, vlanTags }) => measure(name, agentWith(tables, vlanTags))),
    ...agents
      .filter(({ name }) => name === "agent" || name === "agent with everything")
      .map(({ name, tables, vlanTags }) =>
        measure(name.replace("agent", "agent by TC"), agentWith(tables, vlanTags, agentTcProgram)),
      ),
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
