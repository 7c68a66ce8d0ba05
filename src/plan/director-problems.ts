/**
 * Whether a configuration fits the host it is to run on: every problem at once, each a sentence that
 * says what to do. Pure; the facts are read by the daemon before it touches anything.
 */
import type { Link } from "../kernel/rtnetlink-links.ts";
import type { InterfaceAddress } from "../kernel/rtnetlink-addresses.ts";
import type { RouteDecision } from "../kernel/rtnetlink-routes.ts";
import type { Backend, DirectorConfig, Pool } from "../model/model.ts";
import { formatIp, sameIp } from "../net/address.ts";
import { pathTo } from "./path.ts";

export interface HostFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routeTo: (backend: Backend) => RouteDecision;
  /** Interfaces whose XDP program is this instance's own, left by the run before. */
  readonly ownIfindexes: ReadonlySet<number>;
  /** Describes the XDP program on an interface: `id 12 "xdp_foo"`. */
  readonly xdpProgramOn: (link: Link) => string;
}

export function directorProblems(config: DirectorConfig, facts: HostFacts): readonly string[] {
  return [
    ...config.interfaces.flatMap((name) => interfaceProblems(name, facts)),
    ...vipProblems(config, facts),
    ...config.pools.flatMap((pool) => backendProblems(pool, facts)),
  ];
}

function interfaceProblems(name: string, facts: HostFacts): readonly string[] {
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
      const local = facts.addresses.find(({ address }) => sameIp(address, vip));
      if (local === undefined) return [];
      const name =
        facts.links.find(({ ifindex }) => ifindex === local.ifindex)?.name ?? local.ifindex;
      const text = `${formatIp(vip)}/${local.prefixLength}`;
      return [
        `Cannot serve VIP ${formatIp(vip)} of service "${service.name}": this host has the address on ${name}; a director forwards to it and must not hold it, remove it with "ip addr del ${text} dev ${name}"`,
      ];
    }),
  );
}

function backendProblems(pool: Pool, facts: HostFacts): readonly string[] {
  return pool.backends.flatMap((backend) => {
    const result = pathTo(backend, facts.routeTo(backend), facts.links);
    return result.kind === "path"
      ? []
      : [`Cannot forward to backend "${backend.name}" of pool "${pool.name}": ${result.why}`];
  });
}
