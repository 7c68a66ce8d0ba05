import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { XDP_TX } from "../src/bpf/xdp.ts";
import { skip } from "../src/kernel/kernel-fixture.ts";
import { call } from "../src/kernel/libc.ts";
import { listPins, openPin } from "../src/kernel/pins.ts";
import { TestRun } from "../src/kernel/test-run.ts";

const FEW = ["--rounds", "2", "--packets", "2000"];

/** `npm run bench -- ...args`, without npm. */
function bench(...args: readonly string[]) {
  const main = new URL("main.ts", import.meta.url).pathname;
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

interface Printed {
  readonly machine: { readonly kernel: string; readonly mitigations: Record<string, string> };
  readonly cases: readonly Record<string, unknown>[];
  readonly kept?: {
    readonly program: string;
    readonly maps: readonly string[];
    readonly packet: string;
  };
}

function benchJson(...args: readonly string[]): Printed {
  const { status, stdout, stderr } = bench("--json", ...FEW, ...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Printed;
}

test("--quick --json prints six cases with all figures", { skip }, () => {
  const { machine, cases } = benchJson("--quick");
  assert.deepEqual(
    cases.map(({ name, flows }) => [name, flows]),
    ["l2 ipv4", "ipip ipv4", "pass ipv4"].flatMap((name) => [
      [name, 1],
      [name, 1_000_000],
    ]),
  );
  for (const each of cases) {
    for (const key of ["netMedianNs", "netMinNs", "floorNetMedianNs", "grossMedianNs"]) {
      assert.ok(Number.isFinite(each[key]), `${String(each["name"])} has ${key}`);
    }
  }
  assert.match(machine.kernel, /^\d+\.\d+/);
  assert.ok("retbleed" in machine.mitigations && "spec_rstack_overflow" in machine.mitigations);
});

test("without --json it prints a line a case", { skip }, () => {
  const { status, stdout } = bench("--cases", "^pass ipv6$", ...FEW);
  assert.equal(status, 0);
  assert.match(stdout, /^pass ipv6 +1 +-?\d+\.\d/m);
  assert.match(stdout, /^pass ipv6 +1000000 /m);
  assert.match(stdout, /^spec_rstack_overflow: /m);
});

test("--cases takes flows too, and adds the yardstick", { skip }, () => {
  const { cases } = benchJson("--cases", "^l2 ipv4 1000$");
  assert.deepEqual(
    cases.map(({ name, flows }) => [name, flows]),
    [["l2 ipv4", 1000]],
  );
  assert.ok(Number.isFinite(cases[0]?.["yardstickNetMedianNs"]));
});

for (const name of ["gue ipv6 in ipv4", "l2 ipv4 2 VLAN tags", "dscp ipv6 every feature used"]) {
  test(`"${name}" can be measured: it does what the reference says`, { skip }, () => {
    const { cases } = benchJson("--cases", `^${name}$`);
    assert.deepEqual(
      cases.map((each) => [each["name"], each["flows"], each["packets"]]),
      [1, 1_000_000].map((flows) => [name, flows, 600]),
    );
  });
}

test("--keep leaves a director that forwards", { skip }, () => {
  const folder = "/sys/fs/bpf/bench_test";
  const { kept } = benchJson("--cases", "^ipip ipv4 1$", "--keep", folder);
  assert.ok(kept);
  assert.deepEqual(listPins(folder), [kept.program, ...kept.maps].toSorted());
  const program = openPin(`${folder}/${kept.program}`);
  const packet = Buffer.from(kept.packet, "hex");
  const result = new TestRun(program, { maxPacket: 256 }).run(packet);
  call("close", program);
  assert.equal(result.verdict, XDP_TX);
  assert.equal(result.packet.length, packet.length + 20);
});

test("--pps compares with bare XDP_TX", { skip }, () => {
  const { status, stdout, stderr } = bench("--pps", "--json", "--rounds", "1", "--packets", "5000");
  assert.equal(status, 0, stderr);
  const { pps } = JSON.parse(stdout) as { readonly pps: readonly Record<string, unknown>[] };
  assert.deepEqual(
    pps.map(({ name, flows }) => [name, flows]),
    [
      ["l2 ipv4", 1],
      ["l2 ipv4", 1_000_000],
      ["ipip ipv4", 1],
      ["ipip ipv4", 1_000_000],
    ],
  );
  for (const { name, packetsPerSecond, barePacketsPerSecond, floorShare, movedShare } of pps) {
    assert.ok(Number(packetsPerSecond) > 0 && Number(barePacketsPerSecond) > 0);
    assert.ok(Number(floorShare) > 0);
    // No frame grows without a tunnel.
    if (name === "l2 ipv4") assert.equal(movedShare, null);
    else assert.ok(Number(movedShare) > 0);
  }
});

for (const { name, args, says } of [
  { name: "an unknown option", args: ["--quik"], says: /unknown option '--quik'/ },
  { name: "an argument", args: ["l2"], says: /too many arguments/ },
  { name: "what is no expression", args: ["--cases", "("], says: /no regular expression/ },
  {
    name: "what matches nothing",
    args: ["--cases", "l3"],
    says: /no case matches \/l3\/; there are l2 ipv4, /,
  },
  { name: "too few packets", args: ["--packets", "3"], says: /whole number from 20 to/ },
  { name: "no rounds", args: ["--rounds", "0"], says: /whole number from 1 to/ },
  {
    name: "two directors in one folder",
    args: ["--cases", "ipv4 1$", "--keep", "/sys/fs/bpf/bench_test", ...FEW],
    says: /cannot keep several directors .* choose with --cases '\^l2 ipv4\$'/,
  },
]) {
  test(`${name} ends with 2`, { skip }, () => {
    const { status, stderr } = bench(...args);
    assert.match(stderr, says);
    assert.equal(status, 2);
  });
}
