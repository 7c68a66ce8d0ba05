/**
 * Whether a configuration fits the host it is to run on: every problem at once, each a sentence that
 * says what to do. Pure; the facts are read by the daemon before it touches anything.
 */
import { COUNTERS_SIZE_MAX, countersSize } from "../datapath/counters.ts";
import { trafficCounter } from "../datapath/director/maps.ts";
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import type { Backend, DirectorConfig, Pool } from "../model/model.ts";
import { formatIp } from "../net/address.ts";
import { formatPrefix, isWhole, prefixContains } from "../net/prefix.ts";
import { pathTo } from "./path.ts";

export interface HostFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  /** The kernel's way to a backend, or to a VIP. */
  readonly routeTo: (to: Pick<Backend, "address">) => RouteDecision;
  /** Interfaces whose XDP program is this instance's own, left by the run before. */
  readonly ownIfindexes: ReadonlySet<number>;
  /** Describes the XDP program on an interface: `id 12 "xdp_foo"`. */
  readonly xdpProgramOn: (link: Link) => string;
  /** Whether this host forwards packets: net.ipv4.ip_forward, net.ipv6.conf.all.forwarding. */
  readonly forwarding: { readonly ipv4: boolean; readonly ipv6: boolean };
  /** One more than the highest CPU number that can be; without it counters are not sized. */
  readonly cpus?: number;
}

/** Why a director cannot start. */
export function directorProblems(
  config: DirectorConfig,
  facts: Omit<HostFacts, "forwarding">,
): readonly string[] {
  return [
    ...counterProblems(config, facts.cpus),
    ...config.interfaces.flatMap((name) => interfaceProblems(name, facts)),
    ...vipProblems(config, facts),
    ...config.pools.flatMap((pool) => {
      const lost = unreachable(pool, config, facts);
      return lost.length < pool.backends.length ? [] : first(lost, pool);
    }),
  ];
}

/** What somebody should look at, though the director starts: each a sentence that says what to do. */
export function directorWarnings(config: DirectorConfig, facts: HostFacts): readonly string[] {
  return [
    ...config.pools.flatMap((pool) => {
      const lost = unreachable(pool, config, facts);
      return lost.length === pool.backends.length ? [] : first(lost, pool);
    }),
    ...egressWarnings(config, facts),
    ...loopWarnings(config, facts),
    ...outerSourceWarnings(config),
  ];
}

function counterProblems(config: DirectorConfig, cpus: number | undefined): readonly string[] {
  if (cpus === undefined) return [];
  const services = config.services.length;
  const backends = config.pools.reduce((sum, pool) => sum + pool.backends.length, 0);
  const size = countersSize(trafficCounter(services + backends), cpus);
  if (size <= COUNTERS_SIZE_MAX) return [];
  return [
    `Cannot count for ${services} services and ${backends} backends on ${cpus} possible CPUs: the counters take ${size / 2 ** 20} MiB, at most ${COUNTERS_SIZE_MAX >> 20} MiB; use fewer backends, or boot with "nr_cpus=" and as many as there are`,
  ];
}

function interfaceProblems(name: string, facts: Omit<HostFacts, "forwarding">): readonly string[] {
  const link = facts.links.find((candidate) => candidate.name === name);
  if (link === undefined) {
    const known = facts.links.map((candidate) => candidate.name).join(", ");
    return [`Cannot attach to ${name}: no such interface; this host has ${known}`];
  }
  if (link.mac === null) {
    return [
      `Cannot attach to ${name}: it has no Ethernet address; name the interface that packets for the VIPs arrive on`,
    ];
  }
  if (!link.up)
    return [`Cannot attach to ${name}: it is down; set it up with "ip link set ${name} up"`];
  if (link.xdp.length > 0 && !facts.ownIfindexes.has(link.ifindex)) {
    return [
      `Cannot attach to ${name}: it already has an XDP program (${facts.xdpProgramOn(link)}); stop what it belongs to, or remove it with "ip link set dev ${name} xdp off"`,
    ];
  }
  return [];
}

/** VIPs that this host has itself, at the start or since. */
export function vipProblems(
  config: DirectorConfig,
  facts: Pick<HostFacts, "links" | "addresses">,
): readonly string[] {
  return config.services.flatMap((service) =>
    service.vips.flatMap((vip) => {
      const local = facts.addresses.find(({ address }) => prefixContains(vip, address));
      if (local === undefined) return [];
      const name =
        facts.links.find(({ ifindex }) => ifindex === local.ifindex)?.name ?? local.ifindex;
      const text = `${formatIp(local.address)}/${local.prefixLength}`;
      const what = isWhole(vip) ? "the address" : formatIp(local.address);
      return [
        `Cannot serve VIP ${formatPrefix(vip)} of service "${service.name}": this host has ${what} on ${name}; a director forwards to it and must not hold it, remove it with "ip addr del ${text} dev ${name}"`,
      ];
    }),
  );
}

/** Backends without a path, a sentence each. */
function unreachable(
  pool: Pool,
  config: DirectorConfig,
  facts: Pick<HostFacts, "links" | "routeTo">,
): readonly string[] {
  return pool.backends.flatMap((backend) => {
    const result = pathTo(backend, facts.routeTo(backend), facts.links, config);
    return result.kind === "path"
      ? []
      : [`Cannot forward to backend "${backend.name}" of pool "${pool.name}": ${result.why}`];
  });
}

const SENTENCES_MAX = 8;

/** The first sentences about a pool's backends: the cause is mostly one for all. */
function first(sentences: readonly string[], { name }: Pool): readonly string[] {
  const more = sentences.length - SENTENCES_MAX;
  if (more <= 0) return sentences;
  const rest = `Cannot forward to ${more} more backends of pool "${name}"`;
  return [...sentences.slice(0, SENTENCES_MAX), rest];
}

/**
 * A frame that is redirected leaves by the driver's ndo_xdp_xmit. veth, virtio_net, i40e and mlx5 take
 * it only while the interface has an XDP program itself; all else vanishes without an error.
 */
function egressWarnings(config: DirectorConfig, facts: HostFacts): readonly string[] {
  const byLink = new Map<string, string[]>();
  for (const pool of config.pools) {
    for (const backend of pool.backends) {
      const result = pathTo(backend, facts.routeTo(backend), facts.links, config);
      if (result.kind === "none") continue;
      const link = facts.links.find(({ ifindex }) => ifindex === result.path.ifindex);
      if (link === undefined || config.interfaces.includes(link.name)) continue;
      const what = `"${backend.name}" of pool "${pool.name}"`;
      const others = byLink.get(link.name);
      if (others === undefined) byLink.set(link.name, [what]);
      else others.push(what);
    }
  }
  return [...byLink].map(([name, [one = "", ...more]]) => {
    const others = more.length === 0 ? "" : ` and ${more.length} more`;
    return `Packets for backend ${one}${others} leave by ${name}, which has no XDP program of this director: most drivers drop what is redirected there, and do not say so; add ${name} to "interfaces"`;
  });
}

/** Packets for a VIP that are no service's go to the kernel. If it forwards, they go back to the router. */
function loopWarnings(config: DirectorConfig, facts: HostFacts): readonly string[] {
  const vips = config.services.flatMap((service) => service.vips);
  return families.flatMap(({ family, key }) => {
    if (!facts.forwarding[key]) return [];
    const looping = vips.find(
      ({ address }) => address.family === family && facts.routeTo({ address }).type === "unicast",
    );
    if (looping === undefined) return [];
    const ip = family === 4 ? "ip" : "ip -6";
    const setting = family === 4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding";
    return [
      `This host forwards packets (${setting} is on): those for VIP ${formatPrefix(looping)} at ports without a service go back to the router, and in a loop until their TTL ends; run "${ip} route add unreachable ${formatIp(looping.address)}/${looping.length}" for every VIP, or "sysctl -w ${setting}=0"`,
    ];
  });
}

/** Whose packets come from addresses that nobody has is told nothing about them. */
function outerSourceWarnings({ outerSources }: DirectorConfig): readonly string[] {
  if (outerSources.length === 0) return [];
  const texts = outerSources.map(formatPrefix).join(" and ");
  return [
    `Outer headers come from ${texts} (outerSources): what routers and backends say about tunnelled packets, such as ICMP "packet too big", goes there and not to this director; leave it out unless your network spreads by outer addresses only`,
  ];
}

const families = [
  { family: 4, key: "ipv4" },
  { family: 6, key: "ipv6" },
] as const;
