/** The director as an operator runs it: the command, a real interface, kills and refusals. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeVeth, skip, verdict } from "../kernel/kernel-fixture.ts";
import { call } from "../kernel/libc.ts";
import { attachXdp } from "../kernel/links.ts";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { loadProgram } from "../kernel/programs.ts";
import { attachedXdp } from "../kernel/xdp-attached.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { eth } from "../packet/build.ts";

const options = { skip, timeout: 60_000 };
const MAIN = `${import.meta.dirname}/../cli/main.ts`;
const CONFIG = "/run/carom/director.yaml";
const PINS = "/sys/fs/bpf/carom/main/director";
const XDP_PASS = 2;
const MS_RDONLY = 1;

const DIRECTOR_MAC = mac("00:00:5e:00:53:01");
const ROUTER_MAC = mac("00:00:5e:00:53:02");
const BACKEND_MAC = mac("00:00:5e:00:53:11");
const CLIENT = ip("198.51.100.7");
const VIP = ip("203.0.113.200");

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });

const ifindexOf = (name: string): number => Number.parseInt(sh(`ip -o link show dev ${name}`), 10);

const configOf = (change: (text: string) => string = (text) => text): string =>
  change(`director: { interfaces: [eth0] }
pools:
  - name: web
    backends: [{ name: web-1, address: 192.0.2.11 }]
services:
  - { name: web, vips: [203.0.113.200], protocol: tcp, ports: [80], pool: web }
`);

before(() => {
  if (skip !== false) return;
  call("mount", "tmpfs", "/run", "tmpfs", 0, null);
  mkdirSync("/run/carom");
  makeVeth("eth0");
  sh(`ip link set eth0 address 00:00:5e:00:53:01
      ip link set eth0p address 00:00:5e:00:53:02
      ip addr add 192.0.2.2/24 dev eth0
      ip route add default via 192.0.2.1
      ip neigh replace 192.0.2.11 lladdr 00:00:5e:00:53:11 dev eth0 nud permanent`);
  // What XDP sends arrives at the other end only where that has a native program too.
  using pass = loadProgram(verdict(XDP_PASS), () => -1);
  attachXdp({ programFd: pass.fd, ifindex: ifindexOf("eth0p"), mode: "native" });
});

const running = new Set<ChildProcess>();
afterEach(async () => {
  for (const child of running) await stop(child, "SIGKILL");
  sh(`rm -rf ${PINS}`);
});

/** Runs `carom director` on `config` until it says that it runs. */
async function start(config = configOf(), prefix: readonly string[] = []): Promise<ChildProcess> {
  writeFileSync(CONFIG, config);
  const argv = [...prefix, process.execPath, MAIN, "director", "-c", CONFIG];
  const child = spawn("env", argv, { stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let said = "";
  for await (const chunk of child.stdout) {
    said += String(chunk);
    if (said.includes('"director running"')) return child;
  }
  throw new Error(`The director ended before it ran: ${said}`);
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

type Both = ReturnType<typeof spawn> & { readonly stdout: Readable; readonly stderr: Readable };

const carom = (args: readonly string[]): { status: number | null; stderr: string } =>
  spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", timeout: 20_000 });

const generations = (): readonly string[] =>
  readdirSync(PINS).filter((entry) => !entry.startsWith("link_"));

const request = (sourcePort: number): Uint8Array =>
  eth(ROUTER_MAC, DIRECTOR_MAC)
    .ipv4(CLIENT, VIP)
    .tcp({ sourcePort, destinationPort: 80, flags: "S" });

/** How many packets are sent before, between and after what happens to a director. */
const SOME = 100;

interface Traffic {
  /** Sent so far, and come back for the backend. */
  readonly sent: number;
  readonly back: number;
  /** Waits until `count` more were sent. */
  readonly more: (count: number) => Promise<void>;
}

/** Sends requests, one a millisecond, while `work` runs; then waits for those that are on their way. */
async function whileSending(work: (traffic: Traffic) => Promise<void>): Promise<Traffic> {
  const socket = PacketSocket.open(ifindexOf("eth0p"), { promiscuous: true });
  const sending = new EventEmitter();
  const traffic = {
    sent: 0,
    back: 0,
    more: async (count: number) => {
      const enough = traffic.sent + count;
      while (traffic.sent < enough) await once(sending, "sent");
    },
  };
  socket.watch(({ direction, bytes }) => {
    if (direction !== "outgoing" && BACKEND_MAC.every((byte, at) => byte === bytes[at]))
      traffic.back += 1;
  });
  const timer = setInterval(() => {
    socket.send(request(1024 + (traffic.sent % 60_000)));
    traffic.sent += 1;
    sending.emit("sent");
  }, 1);
  try {
    await work(traffic);
    clearInterval(timer);
    // Those that are lost never come.
    for (let waited = 0; traffic.back < traffic.sent && waited < 1000; waited += 20)
      await delay(20);
  } finally {
    clearInterval(timer);
    socket.close();
  }
  return traffic;
}

function assertNoneLost({ sent, back }: Traffic, least: number): void {
  assert.ok(sent >= least, `only ${sent} were sent`);
  assert.equal(back, sent);
}

test("a director killed with SIGKILL and started again loses no packet", options, async () => {
  const first = await start();
  let second: ChildProcess | null = null;
  const traffic = await whileSending(async ({ more }) => {
    await more(SOME);
    await stop(first, "SIGKILL");
    await more(SOME);
    second = await start();
    await more(SOME);
  });
  assertNoneLost(traffic, 3 * SOME);
  assert.deepEqual(readdirSync(PINS).toSorted(), ["2", `link_${ifindexOf("eth0")}`]);
  const status = JSON.parse(sh(`${process.execPath} ${MAIN} status --json`));
  assert.equal(status.director.reasons.no_next_hop.packets, 0);

  const third = spawnSync(process.execPath, [MAIN, "director", "-c", CONFIG], { encoding: "utf8" });
  assert.equal(third.status, 1);
  assert.match(third.stderr, /^carom: Cannot run director "main": it runs already \(pid \d+\)/);
  await stop(second as unknown as ChildProcess, "SIGTERM");

  // Stopped on purpose, it forwards on as well.
  assertNoneLost(await whileSending(({ more }) => more(SOME)), SOME);
});

test("a director runs with the capabilities it says it needs and no other", options, async () => {
  const granted = "-all,+bpf,+net_admin,+perfmon";
  const child = await start(configOf(), ["setpriv", "--bounding-set", granted, "--"]);
  assertNoneLost(await whileSending(({ more }) => more(SOME)), SOME);
  await stop(child, "SIGTERM");
});

interface Refusal {
  readonly name: string;
  /** Shell commands that make the host unfit, and fit again. */
  readonly host?: readonly [string, string];
  readonly config?: (text: string) => string;
  readonly prefix?: readonly string[];
  readonly says: RegExp;
  readonly status?: number;
}

const refusals: readonly Refusal[] = [
  {
    name: "an interface that is not there",
    config: (text) => text.replace("eth0", "eth7"),
    says: /^carom: Cannot attach to eth7: no such interface; this host has lo, .*eth0/m,
  },
  {
    name: "an interface that is down",
    host: ["ip link add eth8 type veth peer name eth8p", "ip link del eth8"],
    config: (text) => text.replace("eth0", "eth8"),
    says: /^carom: Cannot attach to eth8: it is down; set it up with "ip link set eth8 up"$/m,
  },
  {
    name: "an interface without an Ethernet address",
    config: (text) => text.replace("eth0", "lo"),
    says: /^carom: Cannot attach to lo: /m,
  },
  {
    name: "no route to a backend",
    host: ["ip route del default", "ip route add default via 192.0.2.1"],
    config: (text) => text.replace("192.0.2.11", "203.0.113.11"),
    says: /^carom: Cannot forward to backend "web-1" of pool "web": no route to 203\.0\.113\.11 \(unreachable\); add one with "ip route add"$/m,
  },
  {
    name: "an l2 backend behind a gateway",
    config: (text) => text.replace("192.0.2.11", "203.0.113.11"),
    says: /: l2 needs it in a subnet of this host, but the route to 203\.0\.113\.11 goes by gateway 192\.0\.2\.1; use forwarding gue or ipip$/m,
  },
  {
    name: "a backend that is this host",
    config: (text) => text.replace("192.0.2.11", "192.0.2.2"),
    says: /: 192\.0\.2\.2 is an address of this host; a director is not its own backend$/m,
  },
  {
    name: "a VIP that is on this host",
    host: ["ip addr add 203.0.113.200/32 dev lo", "ip addr del 203.0.113.200/32 dev lo"],
    says: /^carom: Cannot serve VIP 203\.0\.113\.200 of service "web": this host has the address on lo; .*"ip addr del 203\.0\.113\.200\/32 dev lo"$/m,
  },
  {
    name: "no privileges",
    prefix: ["setpriv", "--bounding-set", "-all", "--"],
    says: /^carom: Cannot run a director: missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON/m,
  },
  {
    name: "no BPF file system",
    prefix: ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/bpf; exec "$@"', "sh"],
    says: /^carom: Cannot run a director: no BPF file system is mounted at \/sys\/fs\/bpf; mount it with "mount -t bpf bpf \/sys\/fs\/bpf"$/m,
  },
  {
    name: "everything at once, each on its line",
    config: (text) => text.replace("eth0", "eth7").replace("192.0.2.11", "192.0.2.2"),
    says: /^carom: Cannot attach to eth7: .*\ncarom: Cannot forward to backend "web-1"/m,
  },
  {
    name: "a configuration with mistakes",
    config: (text) => text.replace("pool: web }", "pool: wbe }").replace("[80]", "[0]"),
    says: /^\/run\/carom\/director\.yaml:6:\d+: services\[0\]\.ports\[0\]: .*\n\/run\/carom\/director\.yaml:6:\d+: services\[0\]\.pool: /m,
    status: 2,
  },
];

for (const { name, host, config, prefix = [], says, status = 1 } of refusals) {
  test(`director refuses ${name}, and touches nothing`, options, async () => {
    if (host !== undefined) sh(host[0]);
    try {
      writeFileSync(CONFIG, configOf(config));
      const argv = [...prefix, process.execPath, MAIN, "director", "-c", CONFIG];
      const child = spawn("env", argv, { stdio: ["ignore", "ignore", "pipe"] });
      const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
      assert.match(said, says);
      assert.equal(code, status);
      assert.ok(!existsSync(PINS), "pins were made");
      assert.doesNotMatch(sh("ip link show eth0"), /xdp/);
    } finally {
      if (host !== undefined) sh(host[1]);
    }
  });
}

test("director refuses an interface with somebody else's XDP program", options, async () => {
  using foreign = loadProgram(verdict(XDP_PASS, "somebody"), () => -1);
  const ifindex = ifindexOf("eth0");
  using link = attachXdp({ programFd: foreign.fd, ifindex, mode: "native" });
  writeFileSync(CONFIG, configOf());
  const child = spawnSync(process.execPath, [MAIN, "director", "-c", CONFIG], { encoding: "utf8" });
  assert.match(
    child.stderr,
    /^carom: Cannot attach to eth0: it already has an XDP program \(id \d+ "somebody"\); .*"ip link set dev eth0 xdp off"$/m,
  );
  assert.equal(child.status, 1);
  assert.equal(link.info().ifindex, ifindex);
});

test("of two directors started at the same moment one runs and one refuses", options, async () => {
  writeFileSync(CONFIG, configOf());
  const both = [0, 1].map(() => {
    const argv = [MAIN, "director", "-c", CONFIG];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    child.once("exit", () => running.delete(child));
    return child;
  }) as [Both, Both];
  const refusal = await Promise.any(
    both.map(async (child, index) => {
      const [said] = await Promise.all([text(child.stderr), once(child, "exit")]);
      return { said, code: child.exitCode, other: both[1 - index] as Both };
    }),
  );
  assert.match(refusal.said, /^carom: Cannot run director "main": it runs already \(pid \d+\)/);
  assert.match(refusal.said, new RegExp(`pid ${refusal.other.pid}`));
  assert.equal(refusal.code, 1);
  await once(refusal.other.stdout, "data");
  while (carom(["status"]).status !== 0) await delay(50);
  assert.deepEqual(generations(), ["1"]);
});

const withBridge = (text: string): string =>
  text.replace("[eth0]", "[eth0, br0]").replace("] }", "], xdpMode: native }");

test("a start that fails half-way leaves interfaces and pins as they were", options, async () => {
  sh("ip link add br0 type bridge; ip link set br0 up");
  try {
    writeFileSync(CONFIG, configOf(withBridge));
    const first = carom(["director", "-c", CONFIG]);
    assert.match(first.stderr, /^carom: Cannot attach native XDP to br0: /m);
    assert.equal(first.status, 1);
    assert.doesNotMatch(sh("ip link show eth0"), /xdp/);
    assert.deepEqual(existsSync(PINS) ? readdirSync(PINS) : [], []);

    await stop(await start(), "SIGKILL");
    const program = attachedXdp(ifindexOf("eth0"))?.programId;
    writeFileSync(CONFIG, configOf(withBridge));
    assert.equal(carom(["director", "-c", CONFIG]).status, 1);
    assert.equal(attachedXdp(ifindexOf("eth0"))?.programId, program);
    assert.deepEqual(generations(), ["1"]);
    assertNoneLost(await whileSending(({ more }) => more(SOME)), SOME);
  } finally {
    sh("ip link del br0");
  }
});

test(
  "director refuses a folder for its socket that cannot be written, and touches nothing",
  options,
  () => {
    call("mount", "tmpfs", "/run/carom", "tmpfs", MS_RDONLY, null);
    try {
      writeFileSync("/run/director.yaml", configOf());
      const { status, stderr } = carom(["director", "-c", "/run/director.yaml"]);
      assert.equal(stderr, "carom: Cannot have the folder /run/carom/main: EROFS\n");
      assert.equal(status, 1);
      assert.ok(!existsSync(PINS), "pins were made");
      assert.doesNotMatch(sh("ip link show eth0"), /xdp/);
    } finally {
      sh("umount /run/carom");
    }
  },
);

test("a change that the kernel process dies of is made by the next one", options, async () => {
  writeFileSync(CONFIG, configOf());
  const argv = [MAIN, "director", "-c", CONFIG];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += String(chunk);
  });
  const says = async (event: string): Promise<void> => {
    while (!said.includes(event)) {
      assert.equal(child.exitCode, null, `The director ended before it said "${event}"`);
      await delay(20);
    }
  };
  await says("director running");
  const before = attachedXdp(ifindexOf("eth0"))?.programId;
  const kernelPid = Number(sh(`pgrep -P ${child.pid} -f kernel-process-main`));
  process.kill(kernelPid, "SIGSTOP");
  try {
    sh("ip link set eth0 address 00:00:5e:00:53:07");
    // It is asked for a grace period soon after the event, and never answers.
    await delay(200);
    process.kill(kernelPid, "SIGKILL");
    await says("cannot follow a change of this host");
    await says("paths to backends changed");
    while (attachedXdp(ifindexOf("eth0"))?.programId === before) await delay(20);
  } finally {
    sh(`ip link set eth0 address 00:00:5e:00:53:01
        ip neigh replace 192.0.2.11 lladdr 00:00:5e:00:53:11 dev eth0 nud permanent`);
  }
});

const times = (event: string): number =>
  readFileSync("/run/carom/log", "utf8").split(event).length - 1;

test("a VIP that comes to a director's host is said once", options, async () => {
  writeFileSync(CONFIG, configOf());
  const argv = [MAIN, "director", "-c", CONFIG];
  const log = openSync("/run/carom/log", "w+");
  const child = spawn(process.execPath, argv, { stdio: ["ignore", log, "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  while (times("director running") === 0) await delay(20);
  sh("ip addr add 203.0.113.200/32 dev lo");
  try {
    while (times("ip addr del 203.0.113.200/32 dev lo") === 0) await delay(20);
    // Each a look at the host, for which another MTU is other paths.
    for (const mtu of [1401, 1402]) {
      const looks = times("paths to backends changed");
      sh(`ip link set eth0 mtu ${mtu}`);
      while (times("paths to backends changed") === looks) await delay(20);
    }
    assert.equal(times("VIP is on this host"), 1);
  } finally {
    sh("ip addr del 203.0.113.200/32 dev lo; ip link set eth0 mtu 1500");
    closeSync(log);
  }
});

test("a backend taken out stays out over a kill and a restart", options, async () => {
  const first = await start();
  sh(`${process.execPath} ${MAIN} backend drain web/web-1`);
  await stop(first, "SIGKILL");
  const second = await start();
  const { sent, back } = await whileSending(({ more }) => more(SOME));
  assert.ok(sent >= SOME, `only ${sent} were sent`);
  assert.equal(back, 0);
  sh(`${process.execPath} ${MAIN} backend up web/web-1`);
  assertNoneLost(await whileSending(({ more }) => more(SOME)), SOME);
  await stop(second, "SIGTERM");
});

test("a director goes on through an interface that is renamed under it", options, async () => {
  const director = await start();
  const { sent, back } = await whileSending(async () => {
    await delay(50);
    sh("ip link set eth0 name lan0");
    await delay(600);
    sh("ip link set lan0 name eth0");
    await delay(300);
  });
  assert.ok(sent > 300, `only ${sent} were sent`);
  assert.equal(back, sent);
  await stop(director, "SIGTERM");
});
