/**
 * Makes a topology real: a process per node, cables between them, addresses, routes and a switch.
 * Order matters twice: settings that addresses inherit come before the interfaces, and programs on
 * the switch's ports before they are up.
 */
import { setOffloads } from "../kernel/ethtool.ts";
import type { BpfLink } from "../kernel/links.ts";
import { attachXdp } from "../kernel/links.ts";
import { loadProgram } from "../kernel/programs.ts";
import { RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import type { SysctlKey } from "../kernel/sysctl.ts";
import { writeSysctl } from "../kernel/sysctl.ts";
import type { Holder } from "./node.ts";
import { LabNode } from "./node.ts";
import type { CableEnd, NodeSpec, Topology } from "./topology.ts";
import { interfaceOf } from "./topology.ts";
import { xdpPass } from "./xdp-pass.ts";

const BRIDGE = "bridge";
const READY_TIMEOUT_MS = 10_000;

export interface NetworkOptions<Name extends string> {
  /** Commands that hold nodes; the others are held by an idle process. */
  readonly holders?: Partial<Readonly<Record<Name, Holder>>>;
}

export interface Network<Name extends string = string> {
  readonly topology: Topology<Name>;
  readonly nodes: Readonly<Record<Name, LabNode>>;
  /** Stops all nodes; interfaces, pins and routes go with them. */
  close(): Promise<void>;
}

/**
 * Builds the network and waits until packets can flow. Needs root, util-linux (setpriv, unshare,
 * nsenter) and mount(8).
 * @throws {Error} when a node cannot be started or the kernel refuses; nothing is left then
 */
export async function buildNetwork<Name extends string>(
  topology: Topology<Name>,
  options: NetworkOptions<Name> = {},
): Promise<Network<Name>> {
  const specs = Object.values<NodeSpec<Name>>(topology.nodes);
  const starts = await Promise.allSettled(
    specs.map((spec) => LabNode.start(spec, options.holders?.[spec.name])),
  );
  const started = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const attached: BpfLink[] = [];
  const close = async (): Promise<void> => {
    for (const link of attached) link.close();
    await Promise.all(started.map((node) => node.stop()));
  };
  try {
    for (const start of starts) if (start.status === "rejected") throw start.reason;
    const nodes = Object.fromEntries(started.map((node) => [node.name, node])) as Record<
      Name,
      LabNode
    >;
    for (const node of started) node.exec(() => setKernel(node.spec));
    for (const [a, b] of topology.cables) plugIn(nodes, a, b);
    for (const node of started) attached.push(...configure(node));
    const deadline = AbortSignal.timeout(READY_TIMEOUT_MS);
    await Promise.all(started.map((node) => whenReady(node, deadline)));
    return { topology, nodes, close };
  } catch (error) {
    await close();
    throw explain(started, error);
  }
}

/** A holder that ended by itself is what made the rest fail; the others were killed just now. */
function explain(nodes: readonly LabNode[], error: unknown): unknown {
  const ended = nodes.find(({ process }) => process.exitCode !== null);
  if (ended === undefined) return error;
  return new Error(ended.failure(`it ended with ${ended.process.exitCode}`), { cause: error });
}

/** Settings of a namespace that interfaces made later inherit. */
function setKernel({ role }: NodeSpec): void {
  const forwarding = role === "router" ? "1" : "0";
  const settings: readonly (readonly [SysctlKey, string])[] = [
    [["net", "ipv4", "ip_forward"], forwarding],
    [["net", "ipv6", "conf", "all", "forwarding"], forwarding],
    // Replies of a backend come by another way than requests to its VIP went.
    [["net", "ipv4", "conf", "all", "rp_filter"], "0"],
    [["net", "ipv4", "conf", "default", "rp_filter"], "0"],
    // Addresses are ours alone: no second of duplicate detection, no autoconfiguration.
    [["net", "ipv6", "conf", "default", "accept_dad"], "0"],
    [["net", "ipv6", "conf", "default", "accept_ra"], "0"],
    // A switch has no addresses to speak from.
    ...(role === "switch"
      ? [[["net", "ipv6", "conf", "default", "disable_ipv6"], "1"] as const]
      : []),
  ];
  for (const [key, value] of settings) writeSysctl(key, value);
}

function plugIn<Name extends string>(
  nodes: Readonly<Record<Name, LabNode>>,
  a: CableEnd<Name>,
  b: CableEnd<Name>,
): void {
  const describe = (end: CableEnd<Name>) => {
    const node = nodes[end.node];
    const { name, ifindex, mac, mtuBytes } = interfaceOf(node.spec, end.interface);
    return { name, ifindex, mac, mtu: mtuBytes, netns: { pid: node.pid } };
  };
  nodes[a.node].rtnetlink().createVeth(describe(a), describe(b));
}

/** Brings a node's interfaces up. Returns what must stay open for the programs to stay attached. */
function configure(node: LabNode): BpfLink[] {
  const rt = node.rtnetlink();
  const { spec } = node;
  const links: BpfLink[] = [];
  rt.setLink(rt.link("lo")?.ifindex ?? 1, { up: true });
  // Frames that XDP handles carry whole packets and finished checksums, as from a wire.
  const off = { txChecksum: false, tso: false, gso: false, gro: false };
  node.exec(() => {
    for (const { name } of spec.interfaces) setOffloads(name, off);
  });
  if (spec.role === "switch") links.push(...configureSwitch(node));
  for (const { ifindex, addresses } of spec.interfaces) {
    rt.setLink(ifindex, { up: true });
    for (const { address, length } of addresses) {
      rt.addAddress({ ifindex, address, prefixLength: length, flags: ["nodad"] });
    }
  }
  for (const { destination, gateway } of spec.routes) {
    rt.addRoute({ destination, nextHops: [{ gateway }] });
  }
  return links;
}

function configureSwitch(node: LabNode): BpfLink[] {
  const rt = node.rtnetlink();
  rt.createBridge({ name: BRIDGE });
  const master = rt.link(BRIDGE)?.ifindex ?? 0;
  rt.setLink(master, { up: true });
  using program = loadProgram(xdpPass, () => {
    throw new Error(`"${xdpPass.name}" uses no maps`);
  });
  return node.spec.interfaces.map(({ ifindex }) => {
    rt.setLink(ifindex, { master });
    return node.exec(() => attachXdp({ programFd: program.fd, ifindex, mode: "native" }));
  });
}

/**
 * Waits until all interfaces carry packets and all addresses are the node's own. The kernel does the
 * last steps from workers, so this listens for its events rather than trusting the calls.
 */
async function whenReady(node: LabNode, deadline: AbortSignal): Promise<void> {
  let changed: (() => void) | undefined;
  using _events = node.exec(() => RtnetlinkEvents.open(() => changed?.()));
  for (;;) {
    const missing = firstMissing(node);
    if (missing === undefined) return;
    await new Promise<void>((resolve) => {
      changed = resolve;
      deadline.addEventListener("abort", () => resolve(), { once: true });
    });
    if (deadline.aborted) throw new Error(`Node "${node.name}" is not ready: ${missing}`);
  }
}

function firstMissing(node: LabNode): string | undefined {
  const rt = node.rtnetlink();
  for (const { name, addresses } of node.spec.interfaces) {
    if (rt.link(name)?.operational !== true) return `"${name}" does not carry packets`;
    for (const { address } of addresses) {
      if (rt.route(address).type !== "local") return `an address of "${name}" is not usable`;
    }
  }
  return undefined;
}
