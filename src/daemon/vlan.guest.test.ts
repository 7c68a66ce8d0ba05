/**
 * VLAN devices as the host has them: the director finds the way through them, its frames leave with their
 * tags, and a device that comes while it runs is followed. For kernels that have such devices.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { after, before, test } from "node:test";
import type { DirectorStatus } from "../api/director.ts";
import { setTimeout as delay } from "node:timers/promises";
import { ask } from "../api/socket.ts";
import { makeVeth, skip as withoutRoot, verdict } from "../kernel/kernel-fixture.ts";
import { call } from "../kernel/libc.ts";
import { attachXdp } from "../kernel/links.ts";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { loadProgram } from "../kernel/programs.ts";
import { eth, type LinkLayer } from "../packet/build.ts";
import { decode } from "../packet/decode.ts";
import { socketPath } from "./instance.ts";

const skip = withoutRoot || moduleMissing();
const options = { skip, timeout: 600_000 };
const MAIN = `${import.meta.dirname}/../cli/main.ts`;
const CONFIG = "/run/carom/director.yaml";
const XDP_PASS = 2;
const DIRECTOR_MAC = "00:00:5e:00:53:01";
const ROUTER_MAC = "00:00:5e:00:53:02";

function moduleMissing(): string | false {
  try {
    execFileSync("modprobe", ["8021q"], { stdio: "ignore" });
    return false;
  } catch {
    return `Linux ${release()} has no module 8021q`;
  }
}

const sh = (command: string): string => execFileSync("sh", ["-ec", command], { encoding: "utf8" });
const ifindexOf = (name: string): number => Number.parseInt(sh(`ip -o link show dev ${name}`), 10);

/** A VLAN device with a subnet, and a backend there whose MAC is known. */
const addVlan = (name: string, lower: string, id: number, subnet: number): string =>
  sh(`ip link add ${name} link ${lower} type vlan id ${id}
      ip link set ${name} up
      ip addr add 10.0.${subnet}.2/24 dev ${name}
      ip neigh replace 10.0.${subnet}.11 lladdr 00:00:5e:00:53:1${subnet} dev ${name} nud permanent`);

before(() => {
  if (skip !== false) return;
  call("mount", "tmpfs", "/run", "tmpfs", 0, null);
  mkdirSync("/run/carom");
  makeVeth("eth0");
  sh(`ip link set eth0 address ${DIRECTOR_MAC}
      ip link set eth0p address ${ROUTER_MAC}
      ip addr add 192.0.2.2/24 dev eth0
      ip neigh replace 192.0.2.11 lladdr 00:00:5e:00:53:10 dev eth0 nud permanent`);
  addVlan("eth0.100", "eth0", 100, 1);
  sh(`ip link add eth0p.100 link eth0p type vlan id 100
      ip link add eth0p.100.7 link eth0p.100 type vlan id 7
      ip link set eth0p.100 up
      ip link set eth0p.100.7 up`);
  using pass = loadProgram(verdict(XDP_PASS), () => -1);
  attachXdp({ programFd: pass.fd, ifindex: ifindexOf("eth0p"), mode: "native" });
});

let director: ChildProcess | null = null;
after(async () => {
  if (director === null) return;
  const exit = once(director, "exit");
  director.kill("SIGKILL");
  await exit;
});

async function start(): Promise<void> {
  const backends = ["192.0.2.11", "10.0.1.11", "10.0.2.11"].map(
    (address, index) => `{ name: b${index}, address: ${address} }`,
  );
  const services = [0, 1, 2].map(
    (index) =>
      `{ name: s${index}, vips: [203.0.113.200], protocol: tcp, ports: [${80 + index}], pool: p${index} }`,
  );
  writeFileSync(
    CONFIG,
    `director: { interfaces: [eth0] }
pools:
${backends.map((backend, index) => `  - { name: p${index}, backends: [${backend}, { name: spare, address: 192.0.2.99 }] }`).join("\n")}
services: [${services.join(", ")}]
`,
  );
  sh("ip neigh replace 192.0.2.99 lladdr 00:00:5e:00:53:19 dev eth0 nud permanent");
  const child = spawn("env", [process.execPath, MAIN, "director", "-c", CONFIG], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  director = child;
  let said = "";
  for await (const chunk of child.stdout) {
    said += String(chunk);
    if (said.includes('"director running"')) return;
  }
  throw new Error(`The director ended before it ran: ${said}`);
}

const status = async (): Promise<DirectorStatus> =>
  (await ask(socketPath("main", "director"), "GET", "/v1/status")).body as DirectorStatus;

/** Takes the spare out, so that all packets of a pool go one way. */
const only = (pool: string): Promise<unknown> =>
  ask(socketPath("main", "director"), "PUT", `/v1/pools/${pool}/backends/spare/state`, {
    state: "down",
  });

/** The other end's devices, by the tags that they take off. */
const ENDS = { eth0p: "", "eth0p.100": " 100", "eth0p.100.7": " 100 7" } as const;
const SETTLED_MS = 500;
const ANSWER_WITHIN_MS = 30_000;

/** What became of packets, and what the director knows of the host. */
async function counted(): Promise<string> {
  const { reasons, interfaces, pools } = await status();
  const risen = Object.entries(reasons).filter(([, { packets }]) => packets > 0);
  return JSON.stringify({ reasons: Object.fromEntries(risen), interfaces, pools });
}

/** What leaves for a packet that comes in behind `link`: the end of the destination MAC, then the tags. */
async function leaving(link: LinkLayer, port: number): Promise<string> {
  const seen = new Map<string, string>();
  const sockets = Object.entries(ENDS).map(([name, tags]) => {
    const socket = PacketSocket.open(ifindexOf(name), { promiscuous: true });
    socket.watch(({ direction, bytes }) => {
      const tcp = decode(bytes).layers.find((layer) => layer.kind === "tcp");
      if (direction === "outgoing" || tcp?.header.destinationPort !== port) return;
      seen.set(name, Buffer.from(bytes.subarray(0, 6)).toString("hex").slice(-2) + tags);
    });
    return socket;
  });
  try {
    const frame = link.ipv4("198.51.100.7", "203.0.113.200");
    sockets[0]?.send(frame.tcp({ destinationPort: port, flags: "S" }));
    const deadline = AbortSignal.timeout(ANSWER_WITHIN_MS);
    while (seen.size === 0) {
      if (deadline.aborted) assert.fail(`nothing left: ${await counted()}`);
      await delay(10);
    }
    // A device sees a frame before those on top of it, which take another tag off.
    await delay(SETTLED_MS);
    return [...seen.values()].at(-1) ?? "";
  } finally {
    for (const socket of sockets) socket.close();
  }
}

test(
  "frames leave with the tags of their way, and a VLAN device that comes is followed",
  options,
  async () => {
    await start();
    for (const pool of ["p0", "p1", "p2"]) await only(pool);
    assert.deepEqual(
      (await status()).interfaces.map(({ vlanTags }) => vlanTags),
      [1],
    );
    const plain = eth(ROUTER_MAC, DIRECTOR_MAC);
    const tagged = plain.vlan(300, { priority: 3 });
    // Without tags to a backend without, with one and to a VLAN; and from a VLAN to each.
    assert.equal(await leaving(plain, 80), "10");
    assert.equal(await leaving(plain, 81), "11 100");
    assert.equal(await leaving(tagged, 80), "10");
    assert.equal(await leaving(tagged, 81), "11 100");

    addVlan("eth0.100.7", "eth0.100", 7, 2);
    const deadline = AbortSignal.timeout(ANSWER_WITHIN_MS);
    for (;;) {
      if (deadline.aborted) assert.fail(`the new device is not followed: ${await counted()}`);
      const { interfaces, pools } = await status();
      const nextHop = pools[2]?.backends[0]?.nextHop;
      if (interfaces[0]?.vlanTags === 2 && nextHop !== null) break;
      await delay(100);
    }
    assert.equal(await leaving(plain, 82), "12 100 7");
    assert.equal(await leaving(plain.vlan(300).vlan(5), 82), "12 100 7");
    assert.equal(await leaving(plain.vlan(300).vlan(5), 81), "11 100");
    assert.equal(await leaving(plain.vlan(300).vlan(5), 80), "10");
  },
);
