/**
 * Random configurations for the fuzz: services of every kind that overlap, pools whose members are
 * forwarded every way over every family, next hops with VLAN tags or none, and whatever else a program
 * is specialised to. All of it follows from a seed.
 */
import { ForwardingCode, NO_OWNER } from "../datapath/layout.ts";
import type { Random } from "../datapath/fuzz-fixture.ts";
import { hashKeys } from "../model/model.ts";
import { formatIp, ip, type IpAddress, sameIp } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { formatPrefix, type IpPrefix, isWhole, masked } from "../net/prefix.ts";
import { ETH_P_8021AD, ETH_P_8021Q, IPPROTO_TCP, IPPROTO_UDP } from "../packet/headers.ts";
import type {
  DesiredMember,
  DesiredPool,
  DesiredService,
  DesiredState,
} from "../plan/desired-state.ts";
import type { Path, PathTag } from "../plan/path.ts";
import {
  BACKEND_4,
  BACKEND_6,
  BACKEND_L2,
  DIRECTOR,
  DIRECTOR_6,
  DIRECTOR_MAC,
  IFINDEX,
  OTHER_IFINDEX,
  OTHER_MAC,
  type VariantGiven,
} from "./director-fixture.ts";

export interface FuzzWorld {
  readonly state: DesiredState;
  readonly given: Required<
    Pick<VariantGiven, "addresses" | "tunnels" | "outerSources" | "vlanTags">
  >;
}

type Family = 4 | 6;

const SERVICES_MAX = 24;
const MEMBERS_MAX = 5;
const BUCKETS = 64;
export const FUZZ_PORTS = [0, 1, 53, 80, 255, 256, 443, 511, 512, 8000, 8999, 65_534, 65_535];
const ALL_PORTS = { first: 0, last: 65_535 };
const PREFIX_LENGTHS: Readonly<Record<Family, readonly number[]>> = {
  4: [0, 8, 12, 16, 20, 24, 31, 32, 32, 32, 32],
  6: [0, 32, 44, 48, 56, 64, 120, 128, 128, 128, 128],
};

export function randomWorld(random: Random): FuzzWorld {
  const vlanTags = random.pick([0, 0, 1, 2]);
  const services = randomServices(random);
  const families = new Set(services.map(({ vip }) => vip.address.family));
  let counters = services.length;
  const pools = services.map((service, index): DesiredPool => {
    const count = 1 + random.below(MEMBERS_MAX);
    const members = Array.from({ length: count }, (_, number) =>
      randomMember(random, `m${number}`, service, vlanTags),
    );
    const base = new Uint16Array(BUCKETS).map(() =>
      random.chance(0.02) ? NO_OWNER : random.below(count),
    );
    const table = {
      size: BUCKETS,
      members: members.map(({ name }) => ({ name, weight: 1 })),
      base,
      second: base,
    };
    const memberCounters = counters;
    counters += count;
    return { name: `p${index}`, table, members, memberCounters };
  });
  return {
    state: { pools, services, codePoints: codePointsOf(services, pools) },
    given: {
      vlanTags,
      addresses: {
        ipv4: random.chance(0.8) ? ip(DIRECTOR) : null,
        ipv6: random.chance(0.8) ? ip(DIRECTOR_6) : null,
      },
      tunnels: {
        fouPort: 1 + random.below(65_535),
        fouPortIpv6: 1 + random.below(65_535),
        guePort: 1 + random.below(65_535),
        udpChecksum: random.chance(0.5),
      },
      outerSources: {
        ipv4: families.size > 0 && random.chance(0.2) ? randomSource(random, 4) : null,
        ipv6: random.chance(0.2) ? randomSource(random, 6) : null,
      },
    },
  };
}

/** Addresses close to each other, so that prefixes contain one another. */
export function randomAddress(random: Random, family: Family): IpAddress {
  const last = (): number => random.pick([0, 1, 10, 64, 128, 255]);
  const bytes =
    family === 4
      ? [192, random.below(2), last(), last()]
      : [0x20, 1, 0xd, 0xb8, 0, random.below(2), last(), last(), 0, 0, 0, 0, 0, 0, last(), last()];
  return { family, bytes: Uint8Array.from(bytes) };
}

function randomServices(random: Random): readonly DesiredService[] {
  // Now and then a world of one kind, so that programs without the others are met too.
  const families = random.pick<readonly Family[]>([[4], [6], [4, 6], [4, 6]]);
  const isPlain = random.chance(0.25);
  const hasHashKeys = random.chance(0.5);
  const wanted = 1 + random.below(SERVICES_MAX);
  const services: DesiredService[] = [];
  for (let tries = 0; services.length < wanted && tries < 10 * SERVICES_MAX; tries += 1) {
    const number = services.length;
    const service = {
      ...randomService(random, random.pick(families), isPlain),
      name: `s${number}`,
      hashKey: hasHashKeys ? random.pick(hashKeys) : ("five-tuple" as const),
      pool: number,
      counter: number,
    };
    if (services.every((other) => !clashes(service, other))) services.push(service);
  }
  return services;
}

function randomService(
  random: Random,
  family: Family,
  isPlain: boolean,
): Pick<DesiredService, "vip" | "protocol" | "ports"> {
  const length = isPlain ? (family === 4 ? 32 : 128) : random.pick(PREFIX_LENGTHS[family]);
  const vip = { address: masked(randomAddress(random, family), length), length };
  const [a, b] = [random.pick(FUZZ_PORTS), random.pick(FUZZ_PORTS)];
  const one = { first: a, last: a };
  const protocol = random.pick([IPPROTO_TCP, IPPROTO_UDP]);
  if (isPlain || random.chance(0.5)) return { vip, protocol, ports: one };
  if (random.chance(0.3)) return { vip, protocol: null, ports: ALL_PORTS };
  if (random.chance(0.3)) return { vip, protocol, ports: ALL_PORTS };
  return { vip, protocol, ports: { first: Math.min(a, b), last: Math.max(a, b) } };
}

const spanOf = ({ ports }: DesiredService): string => {
  if (ports.first === ports.last) return "one";
  return ports.last - ports.first === 65_535 ? "all" : "some";
};

/** No two services of one prefix and protocol share a port, unless one is more specific than the other. */
const clashes = (a: DesiredService, b: DesiredService): boolean =>
  formatPrefix(a.vip) === formatPrefix(b.vip) &&
  a.protocol === b.protocol &&
  spanOf(a) === spanOf(b) &&
  a.ports.first <= b.ports.last &&
  b.ports.first <= a.ports.last;

const CODES: Readonly<Record<Family, readonly ForwardingCode[]>> = {
  4: [
    ForwardingCode.ipipOverIpv4,
    ForwardingCode.greOverIpv4,
    ForwardingCode.fouOverIpv4,
    ForwardingCode.gueOverIpv4,
  ],
  6: [
    ForwardingCode.ipipOverIpv6,
    ForwardingCode.greOverIpv6,
    ForwardingCode.fouOverIpv6,
    ForwardingCode.gueOverIpv6,
  ],
};

function randomMember(
  random: Random,
  name: string,
  service: DesiredService,
  vlanTags: number,
): DesiredMember {
  const vipFamily = service.vip.address.family;
  const canReaddress = service.protocol !== null && isWhole(service.vip);
  const kind = random.below(10);
  const isL2 = kind < 2;
  const isDscp = kind === 2 && canReaddress;
  const family = isDscp ? vipFamily : random.pick([4, 6] as const);
  const address = ip(family === 4 ? (isL2 ? BACKEND_L2 : BACKEND_4) : BACKEND_6);
  const path = randomPath(random, family, vlanTags);
  if (kind === 3 && random.chance(0.1)) {
    return { name, address, forwarding: ForwardingCode.none, path };
  }
  const forwarding = isL2
    ? ForwardingCode.l2
    : isDscp
      ? ForwardingCode.dscp
      : random.pick(CODES[family]);
  return { name, address, forwarding, path };
}

/** What `macOf` of the fixture knows no MAC of. */
const NOBODY = ip("198.51.100.99");
const ROUTER = { 4: ip("198.51.100.254"), 6: ip("2001:db8:20::fe") };

function randomPath(random: Random, family: Family, vlanTags: number): Path | null {
  if (random.chance(0.04)) return null;
  const isHere = random.chance(0.8);
  const count = random.below(vlanTags + 1);
  const tags: readonly PathTag[] = Array.from({ length: count }, (_, at) => ({
    protocol: at === 0 && count === 2 ? ETH_P_8021AD : ETH_P_8021Q,
    id: 1 + random.below(4094),
  }));
  return {
    ifindex: isHere ? IFINDEX : OTHER_IFINDEX,
    mac: mac(isHere ? DIRECTOR_MAC : OTHER_MAC),
    neighbour: random.chance(0.04) ? NOBODY : ROUTER[family],
    source: ip(family === 4 ? DIRECTOR : DIRECTOR_6),
    tags,
    mtu: random.pick([1500, 1500, 1300, 1280, 9000]),
  };
}

function randomSource(random: Random, family: Family): IpPrefix {
  const length = random.pick(family === 4 ? [0, 8, 15, 24, 31] : [16, 64, 96, 104, 127]);
  return { address: masked(randomAddress(random, family), length), length };
}

/** For each backend's address, the VIPs of the services that reach it by code points, in their order. */
function codePointsOf(
  services: readonly DesiredService[],
  pools: readonly DesiredPool[],
): DesiredState["codePoints"] {
  const found = new Map<string, IpAddress[]>();
  for (const { vip, pool } of services) {
    for (const { forwarding, address } of pools[pool]?.members ?? []) {
      if (forwarding !== ForwardingCode.dscp) continue;
      const known = found.get(formatIp(address)) ?? [];
      if (!known.some((other) => sameIp(other, vip.address))) known.push(vip.address);
      found.set(formatIp(address), known);
    }
  }
  return found;
}
