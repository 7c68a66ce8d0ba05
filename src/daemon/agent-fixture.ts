/**
 * A backend for tests: this process in namespaces of its own (`kernel-fixture.ts`) with a BPF file
 * system, an empty /run and `eth0`, whose other end `eth0p` plays the network. The command runs as a
 * child that dies with us.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { ask } from "../api/socket.ts";
import type { AgentStatus } from "../api/agent.ts";
import type { TunnelKind } from "../datapath/agent/variant.ts";
import { inTunnel } from "../datapath/tunnel-fixture.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { call } from "../kernel/libc.ts";
import { type LinkInfo, openLink } from "../kernel/links.ts";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { formatIp, ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { bare, eth } from "../packet/build.ts";

export const CLIENT = ip("198.51.100.7");
export const CLIENT_6 = ip("2001:db8:1::7");
export const VIP = ip("203.0.113.200");
export const VIP_6 = ip("2001:db8:f::200");
export const DIRECTOR = ip("192.0.2.2");
export const DIRECTOR_6 = ip("2001:db8:2::2");
export const STRANGER = ip("192.0.2.99");
export const BACKEND = ip("192.0.2.14");
export const BACKEND_6 = ip("2001:db8:2::14");
export const BACKEND_MAC = mac("00:00:5e:00:53:14");
export const DIRECTOR_MAC = mac("00:00:5e:00:53:02");
export const PORT = 5353;

export const CONFIG = "/run/agent.yaml";
export const STATE = "/run/carom/main/agent.json";
export const SOCKET = "/run/carom/main/agent.sock";
export const PINS = "/sys/fs/bpf/carom/main/agent";
const MAIN = `${import.meta.dirname}/../cli/main.ts`;

export const sh = (command: string): string =>
  execFileSync("sh", ["-ec", command], { encoding: "utf8" });

export function makeBackend(): void {
  if (skip !== false) return;
  call("mount", "tmpfs", "/run", "tmpfs", 0, null);
  sh("ip link set lo up");
  makeEth0();
}

/** `index`: which ifindex it gets, 0 for the next. */
export const makeEth0 = (index = 0): void => {
  sh(`ip link add eth0 ${index === 0 ? "" : `index ${index}`} address 00:00:5e:00:53:14 type veth peer name eth0p address 00:00:5e:00:53:02
      ip link set eth0p up; ip link set eth0 up
      ip addr add 192.0.2.14/24 dev eth0; ip addr add 2001:db8:2::14/64 dev eth0 nodad
      ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8:2::1`);
};

export const ifindexOf = (name: string): number =>
  Number.parseInt(sh(`ip -o link show dev ${name}`), 10);

export const linkInfo = (): LinkInfo => {
  using link = openLink(`${PINS}/link_${ifindexOf("eth0")}`);
  return link.info();
};

export const configText = (rest = ""): string =>
  `agent: { interfaces: [eth0], vips: [203.0.113.200, "2001:db8:f::200"], directors: [192.0.2.2, "2001:db8:2::2"]${rest} }\n`;

/** All of the host that an agent could change, byte for byte. */
export function snapshot(): string {
  const conf = "/proc/sys/net/ipv4/conf";
  const sysctls = ["all", "default", "lo", "eth0"].flatMap((name) =>
    readdirSync(`${conf}/${name}`).map(
      (key) => `${name}.${key}=${JSON.stringify(readFileSync(`${conf}/${name}/${key}`, "latin1"))}`,
    ),
  );
  // Not those of scope link: the kernel makes them, and takes its time to check them.
  const addresses = sh("ip -o addr show scope global");
  const programs = sh("ip link show eth0").match(/prog\/\S+ id \d+/g) ?? [];
  const pins = existsSync("/sys/fs/bpf/carom") ? sh("find /sys/fs/bpf/carom") : "";
  const run = existsSync("/run/carom") ? sh("find /run/carom -mindepth 1") : "";
  return [...sysctls, addresses, ...programs, `pins ${pins}`, `run ${run}`].join("\n");
}

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const children = new Set<ChildProcess>();

/** Ends agents that a failed test left running, and what they left. */
export async function cleanUp(): Promise<void> {
  if (skip !== false) return;
  for (const child of children) {
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }
  if (existsSync(PINS) || existsSync(STATE)) carom(["teardown"]);
}

/** A running `carom agent`. */
export class AgentProcess {
  readonly lines: LogLine[] = [];
  readonly #child: ChildProcess;
  #heard: (() => void) | null = null;
  #ended = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    children.add(child);
    child.once("exit", () => {
      children.delete(child);
      this.#ended = true;
      this.#heard?.();
    });
    createInterface(child.stdout as NodeJS.ReadableStream).on("line", (line) => {
      this.lines.push(JSON.parse(line) as LogLine);
      this.#heard?.();
    });
  }

  /** Runs the agent on `config` until it serves. */
  static async start(
    config = configText(),
    args: readonly string[] = [],
    prefix: readonly string[] = [],
  ): Promise<AgentProcess> {
    const [file = "", ...rest] = command(config, ["agent", "-c", CONFIG, ...args], prefix);
    const agent = new AgentProcess(spawn(file, rest, { stdio: ["ignore", "pipe", "inherit"] }));
    await agent.says(({ msg }) => msg === "agent serving");
    return agent;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The first line from number `from` on that is as wanted. Fails when the agent ends before. */
  async says(wanted: (line: LogLine) => boolean, from = 0): Promise<LogLine> {
    for (;;) {
      const line = this.lines.slice(from).find(wanted);
      if (line !== undefined) return line;
      if (this.#ended) throw new Error(`The agent ended; it said ${JSON.stringify(this.lines)}`);
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  /** Ends it, and returns its exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    // "close": its last lines were read too.
    const closed = once(this.#child, "close") as Promise<[number | null]>;
    this.#child.kill(signal);
    const [code] = await closed;
    return code;
  }
}

function command(
  config: string,
  args: readonly string[],
  prefix: readonly string[],
): readonly string[] {
  writeFileSync(CONFIG, config);
  return ["setpriv", "--pdeathsig", "KILL", "--", ...prefix, process.execPath, MAIN, ...args];
}

/** Runs `carom` with `args` to its end. */
export function carom(
  args: readonly string[],
  config = configText(),
  prefix: readonly string[] = [],
): { readonly code: number | null; readonly stdout: string; readonly stderr: string } {
  const [file = "", ...rest] = command(config, args, prefix);
  const { status, stdout, stderr } = spawnSync(file, rest, { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

export async function status(): Promise<AgentStatus> {
  return (await ask(SOCKET, "GET", "/v1/status")).body as AgentStatus;
}

/** What a director sends for a client's datagram: IPv4 or IPv6, in a tunnel over IPv4 or IPv6. */
export function encapsulated(
  payload: string,
  director = DIRECTOR,
  vip = VIP,
  kind: TunnelKind = "ipip",
): Uint8Array {
  const frame = eth(DIRECTOR_MAC, BACKEND_MAC);
  const outer =
    director.family === 4 ? frame.ipv4(director, BACKEND) : frame.ipv6(director, BACKEND_6);
  const inner = vip.family === 4 ? bare().ipv4(CLIENT, vip) : bare().ipv6(CLIENT_6, vip);
  return inTunnel(outer, kind, inner.udp({ sourcePort: 40_000, destinationPort: PORT }, payload));
}

/** What a director sends by `dscp` for the first VIP of this backend's address. */
export function readdressed(payload: string, family: 4 | 6): Uint8Array {
  const frame = eth(DIRECTOR_MAC, BACKEND_MAC);
  const network =
    family === 4
      ? frame.ipv4(CLIENT, BACKEND, { tos: 1 << 2 })
      : frame.ipv6(CLIENT_6, BACKEND_6, { versionClassFlow: 0x60400000 });
  return network.udp({ sourcePort: 40_000, destinationPort: PORT }, payload);
}

/** A server on the VIP that keeps what it is sent, and the network's end to send from. */
export class Server {
  readonly received: string[] = [];
  readonly wire: PacketSocket;
  readonly #socket: Socket;
  #heard: (() => void) | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.wire = PacketSocket.open(ifindexOf("eth0p"), { promiscuous: true });
    socket.on("message", (message) => {
      this.received.push(message.toString());
      this.#heard?.();
    });
  }

  static async open(vip = VIP): Promise<Server> {
    const socket = createSocket(vip.family === 4 ? "udp4" : "udp6");
    socket.bind(PORT, formatIp(vip));
    await once(socket, "listening");
    return new Server(socket);
  }

  /** Waits until `payload` has arrived. */
  async hears(payload: string): Promise<void> {
    while (!this.received.includes(payload)) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.wire.close();
  }
}
