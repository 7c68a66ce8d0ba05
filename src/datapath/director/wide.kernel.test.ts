/**
 * Services that are searched for: random ones, and random packets that mostly meet them. Which service
 * is the most specific is decided here once more, packet by packet, in the plainest way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BACKEND_L2,
  DIRECTOR_MAC,
  DirectorUnderTest,
  HASH_KEY,
  stateOf,
} from "../../apply/director-fixture.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import type { HashKey } from "../../model/model.ts";
import { formatIp, ip, type IpAddress } from "../../net/address.ts";
import { formatPrefix, masked, prefixContains } from "../../net/prefix.ts";
import { eth } from "../../packet/build.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../packet/headers.ts";
import type { DesiredPool, DesiredService, DesiredState } from "../../plan/desired-state.ts";
import { flowHash } from "../flow-hash.ts";
import { Random } from "../fuzz-fixture.ts";

const SERVICES = 40;
const STATES = 12;
const PACKETS = 400;
const BUCKETS = 64;
const link = eth("00:00:5e:00:53:c1", DIRECTOR_MAC);

/** Addresses close to each other, so that prefixes contain one another. */
function randomAddress(random: Random, family: 4 | 6): IpAddress {
  const last = (): number => random.pick([0, 1, 10, 64, 128, 255]);
  return family === 4
    ? { family, bytes: Uint8Array.of(192, random.below(2), last(), last()) }
    : {
        family,
        bytes: Uint8Array.from(
          [0x20, 1, 0xd, 0xb8, 0, random.below(2), last(), last()].concat(
            [0, 0, 0, 0, 0, 0],
            last(),
            last(),
          ),
        ),
      };
}

const LENGTHS = { 4: [8, 12, 16, 20, 24, 31, 32, 32], 6: [32, 44, 48, 56, 64, 120, 128, 128] };
const PORTS = [0, 1, 53, 80, 255, 256, 443, 511, 512, 8000, 8999, 65_534, 65_535];
const HASH_KEYS: readonly HashKey[] = ["five-tuple", "client", "client-vip", "client-port"];

function randomService(random: Random, number: number): DesiredService {
  const family = random.pick([4, 6] as const);
  const length = random.pick(LENGTHS[family]);
  const address = masked(randomAddress(random, family), length);
  const protocol = random.pick([IPPROTO_TCP, IPPROTO_UDP, null]);
  const [a, b] = [random.pick(PORTS), random.pick(PORTS)];
  const range = random.chance(0.4)
    ? { first: a, last: a }
    : { first: Math.min(a, b), last: Math.max(a, b) };
  const ports = protocol === null || random.chance(0.2) ? { first: 0, last: 65_535 } : range;
  return {
    name: `s${number}`,
    vip: { address, length },
    protocol,
    ports,
    hashKey: random.pick(HASH_KEYS),
    pool: number,
    counter: number,
  };
}

const spanOf = ({ ports }: DesiredService): string =>
  ports.first === ports.last ? "one" : ports.last - ports.first === 65_535 ? "all" : "some";

/** No two services of one prefix and protocol share a port, unless one is more specific than the other. */
function clashes(a: DesiredService, b: DesiredService): boolean {
  return (
    formatPrefix(a.vip) === formatPrefix(b.vip) &&
    a.protocol === b.protocol &&
    spanOf(a) === spanOf(b) &&
    a.ports.first <= b.ports.last &&
    b.ports.first <= a.ports.last
  );
}

function randomState(random: Random): DesiredState {
  const services: DesiredService[] = [];
  while (services.length < SERVICES) {
    const service = randomService(random, services.length);
    if (services.every((other) => !clashes(service, other))) services.push(service);
  }
  const member = stateOf(["l2"]).pools[0]?.members[0];
  assert.ok(member !== undefined);
  assert.equal(formatIp(member.address), BACKEND_L2);
  const base = new Uint16Array(BUCKETS).map((_, bucket) => bucket % 4);
  const pools = services.map(({ name }, index): DesiredPool => {
    const members = [0, 1, 2, 3].map((number) => ({ ...member, name: `m${number}` }));
    const table = {
      size: BUCKETS,
      members: members.map((each) => ({ ...each, weight: 1 })),
      base,
      second: base,
    };
    return { name, table, members, memberCounters: SERVICES + 4 * index };
  });
  return { pools, services, codePoints: new Map() };
}

interface Asked {
  readonly address: IpAddress;
  readonly protocol: number;
  readonly port: number;
}

/** The longest prefix, then a named protocol, then the fewest ports. */
function mostSpecific(services: readonly DesiredService[], asked: Asked): DesiredService | null {
  const isPorted = [IPPROTO_TCP, IPPROTO_UDP].includes(asked.protocol);
  const wants = services.filter(
    ({ vip, protocol, ports }) =>
      prefixContains(vip, asked.address) &&
      (protocol === null || protocol === asked.protocol) &&
      (isPorted ? ports.first <= asked.port && asked.port <= ports.last : protocol === null),
  );
  const [first] = wants.toSorted(
    (a, b) =>
      b.vip.length - a.vip.length ||
      Number(a.protocol === null) - Number(b.protocol === null) ||
      a.ports.last - a.ports.first - (b.ports.last - b.ports.first),
  );
  return first ?? null;
}

const wordsOf = ({ bytes }: IpAddress): number[] =>
  Array.from({ length: bytes.length / 4 }, (_, at) =>
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(at * 4, true),
  );
const swapped = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

/** The bucket that docs/design/flow-hash.md gives. */
function bucketOf(
  service: DesiredService,
  source: IpAddress,
  asked: Asked,
  sourcePort: number,
): number {
  const isPorted = [IPPROTO_TCP, IPPROTO_UDP].includes(asked.protocol);
  const [from, to] = isPorted ? [swapped(sourcePort), swapped(asked.port) * 65_536] : [0, 0];
  const nothing = wordsOf(asked.address).map(() => 0);
  const hashed: Readonly<Record<HashKey, readonly number[]>> = {
    "five-tuple": [...wordsOf(asked.address), from + to, asked.protocol],
    client: [...nothing, 0, 0],
    "client-vip": [...wordsOf(asked.address), 0, 0],
    "client-port": [...nothing, to, 0],
  };
  return flowHash(HASH_KEY, [...wordsOf(source), ...hashed[service.hashKey]]) % BUCKETS;
}

const seed = Math.floor(Math.random() * 2 ** 31);
for (let number = 0; number < STATES; number += 1) {
  test(`the most specific service gets the packet, seed ${seed + number}`, { skip }, async () => {
    const random = new Random(seed + number);
    const state = randomState(random);
    using director = await DirectorUnderTest.open(state);
    let found = 0;
    for (let count = 0; count < PACKETS; count += 1) {
      const { vip } = random.pick(state.services);
      const { family } = vip.address;
      const near = randomAddress(random, family);
      const address = random.chance(0.5) ? vip.address : near;
      const source = ip(
        family === 4 ? `198.18.0.${random.below(250)}` : `2001:2::${random.below(9)}`,
      );
      const port = random.pick([...PORTS, random.below(65_536)]);
      const protocol = random.pick([IPPROTO_TCP, IPPROTO_UDP, 50, 132]);
      const network =
        family === 4
          ? link.ipv4(formatIp(source), formatIp(address))
          : link.ipv6(formatIp(source), formatIp(address));
      const sourcePort = random.below(65_536);
      const ports = { sourcePort, destinationPort: port };
      const packet =
        protocol === IPPROTO_TCP
          ? network.tcp(ports)
          : protocol === IPPROTO_UDP
            ? network.udp(ports, "data")
            : network.raw(protocol, random.bytes(20));
      const asked = { address, protocol, port };
      const service = mostSpecific(state.services, asked);
      const bucket = service && bucketOf(service, source, asked, sourcePort);
      const expected =
        service === null
          ? [`reason not_a_service 1/${packet.length}`]
          : [
              `reason forwarded 1/${packet.length}`,
              `service ${service.name} 1/${packet.length}`,
              `member ${service.name} m${(bucket ?? 0) % 4} 1/${packet.length}`,
            ];
      const { counted } = director.run(packet);
      const what = `${formatIp(source)} to ${formatIp(address)} port ${port} protocol ${protocol}`;
      assert.deepEqual(counted, expected, what);
      if (service !== null) found += 1;
    }
    assert.ok(found > PACKETS / 4, `${found} packets had a service`);
  });
}
