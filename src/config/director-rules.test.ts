/** What is wrong with a director's file beyond its shape. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIssue } from "./issue.ts";
import { checkText } from "./parse.ts";
import type { SecretReading } from "./secret.ts";

const DIRECTOR = "director: { interfaces: [eth0] }\n";
const POOLS = "pools: [{ name: web, backends: [{ name: web-1, address: 198.51.100.11 }] }]\n";
const SERVICES =
  "services: [{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }]\n";
const withBackend = (text: string): string =>
  `${DIRECTOR}pools: [{ name: web, backends: [${text}] }]\n${SERVICES}`;
const withService = (text: string): string => `${DIRECTOR}${POOLS}services: [${text}]\n`;

/** `count` addresses, from 192.0.2.`first` on. */
const vips = (first: number, count: number): string =>
  Array.from({ length: count }, (_, index) => `192.0.2.${first + index}`).join(", ");

const rows: readonly { name: string; text: string; issues: readonly string[] }[] = [
  {
    name: "an interface twice",
    text: "director: { interfaces: [eth0, eth1, eth0] }\n",
    issues: ['1:38: director.interfaces[2]: Duplicate interface "eth0"; first at 1:26'],
  },
  {
    name: "a pool name twice",
    text: `${DIRECTOR}pools:\n  - { name: web, backends: [{ name: a, address: 198.51.100.11 }] }\n  - { name: web, backends: [{ name: a, address: 198.51.100.11 }] }\n${SERVICES}`,
    issues: ['4:13: pools[1].name: Duplicate pool name "web"; first at 3:13'],
  },
  {
    name: "a backend name twice",
    text: `${DIRECTOR}pools:\n  - name: web\n    backends:\n      - { name: a, address: 198.51.100.11 }\n      - { name: a, address: 198.51.100.12 }\n${SERVICES}`,
    issues: ['6:17: pools[0].backends[1].name: Duplicate backend name "a"; first at 5:17'],
  },
  {
    name: "a backend address twice, written differently",
    text: `${DIRECTOR}pools:\n  - name: web\n    backends:\n      - { name: a, address: "2001:db8::11" }\n      - { name: b, address: "2001:DB8:0::11" }\n${SERVICES}`,
    issues: [
      '6:29: pools[0].backends[1].address: Duplicate backend address "2001:db8::11"; first at 5:29',
    ],
  },
  {
    name: "one backend in two pools is no mistake",
    text: `${DIRECTOR}pools:\n  - { name: web, backends: [{ name: a, address: 198.51.100.11 }] }\n  - { name: dns, backends: [{ name: a, address: 198.51.100.11 }] }\nservices:\n  - { name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }\n  - { name: dns, vips: [192.0.2.10], protocol: udp, ports: [80], pool: dns }\n`,
    issues: [],
  },
  {
    name: "a service name twice",
    text: `${DIRECTOR}${POOLS}services:\n  - { name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }\n  - { name: web, vips: [192.0.2.11], protocol: tcp, ports: [80], pool: web }\n`,
    issues: ['5:13: services[1].name: Duplicate service name "web"; first at 4:13'],
  },
  {
    name: "VIPs that no client reaches",
    text: withService(
      "{ name: web, vips: [0.0.0.0, 127.0.0.1, 169.254.0.1, 224.0.0.1, 255.255.255.255], protocol: tcp, ports: [80], pool: web }",
    ),
    issues: [
      "3:32: services[0].vips[0]: 0.0.0.0 is an unspecified address and cannot be a VIP; use a unicast address",
      "3:41: services[0].vips[1]: 127.0.0.1 is a loopback address and cannot be a VIP; use a unicast address",
      "3:52: services[0].vips[2]: 169.254.0.1 is a link-local address and cannot be a VIP; use a unicast address",
      "3:65: services[0].vips[3]: 224.0.0.1 is a multicast address and cannot be a VIP; use a unicast address",
      "3:76: services[0].vips[4]: 255.255.255.255 is a broadcast address and cannot be a VIP; use a unicast address",
    ],
  },
  {
    name: "VIPs that no client reaches, IPv6",
    text: withService(
      '{ name: web, vips: ["::", "::1", "fe80::1", "ff02::1", "::ffff:192.0.2.10"], protocol: tcp, ports: [80], pool: web }',
    ),
    issues: [
      "3:32: services[0].vips[0]: :: is an unspecified address and cannot be a VIP; use a unicast address",
      "3:38: services[0].vips[1]: ::1 is a loopback address and cannot be a VIP; use a unicast address",
      "3:45: services[0].vips[2]: fe80::1 is a link-local address and cannot be a VIP; use a unicast address",
      "3:56: services[0].vips[3]: ff02::1 is a multicast address and cannot be a VIP; use a unicast address",
      "3:67: services[0].vips[4]: ::ffff:192.0.2.10 is an IPv4-mapped address; write 192.0.2.10",
    ],
  },
  {
    name: "a VIP twice in a service",
    text: withService(
      '{ name: web, vips: ["2001:db8::10", "2001:db8:0::10"], protocol: tcp, ports: [80], pool: web }',
    ),
    issues: ['3:48: services[0].vips[1]: Duplicate VIP "2001:db8::10"; first at 3:32'],
  },
  {
    name: "a backend that cannot be reached",
    text: withBackend("{ name: web-1, address: 127.0.0.1 }"),
    issues: [
      "2:57: pools[0].backends[0].address: 127.0.0.1 is a loopback address and cannot be a backend; use a unicast address",
    ],
  },
  {
    name: "a backend that is a VIP",
    text: withBackend("{ name: web-1, address: 192.0.2.10 }"),
    issues: [
      "2:57: pools[0].backends[0].address: 192.0.2.10 is a VIP, at 3:32: its packets would come back to the director; a backend needs an address of its own",
    ],
  },
  {
    name: "a VIP and port of another service",
    text: `${DIRECTOR}${POOLS}services:\n  - { name: one, vips: [192.0.2.9, 192.0.2.10], protocol: tcp, ports: [443, 80], pool: web }\n  - { name: two, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }\n`,
    issues: ['5:25: services[1].vips[0]: 192.0.2.10 tcp port 80 is taken by service "one" at 4:36'],
  },
  {
    name: "a VIP and ports of two other services",
    text: `${DIRECTOR}${POOLS}services:\n  - { name: one, vips: [192.0.2.10], protocol: tcp, ports: [1, 2, 3, 4, 5, 6], pool: web }\n  - { name: two, vips: [192.0.2.10], protocol: tcp, ports: [7], pool: web }\n  - { name: three, vips: [192.0.2.10], protocol: tcp, ports: [7, 8, 6, 5, 4, 3, 2, 1], pool: web }\n`,
    issues: [
      '6:27: services[2].vips[0]: 192.0.2.10 tcp port 7 is taken by service "two" at 5:25',
      '6:27: services[2].vips[0]: 192.0.2.10 tcp ports 6, 5, 4, 3 and 2 more are taken by service "one" at 4:25',
    ],
  },
  {
    name: "a VIP and port of a service whose name is wrong",
    text: `${DIRECTOR}${POOLS}services:\n  - { name: a b, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }\n  - { name: two, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }\n`,
    issues: [
      '4:13: services[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got "a b"',
      "5:25: services[1].vips[0]: 192.0.2.10 tcp port 80 is taken by another service at 4:25",
    ],
  },
  {
    name: "the same port of another protocol is no mistake",
    text: `${DIRECTOR}${POOLS}services:\n  - { name: one, vips: [192.0.2.10], protocol: tcp, ports: [53], pool: web }\n  - { name: two, vips: [192.0.2.10], protocol: udp, ports: [53], pool: web }\n`,
    issues: [],
  },
  {
    name: "a port twice in a service",
    text: withService(
      "{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80, 443, 80], pool: web }",
    ),
    issues: ["3:77: services[0].ports[2]: Duplicate port 80; first at 3:68"],
  },
  {
    name: "single ports in a range and prefixes in each other are no mistake: the most specific wins",
    text: `${DIRECTOR}${POOLS}services:
  - { name: one, vips: [192.0.2.10], protocol: tcp, ports: [8000-8999], pool: web }
  - { name: two, vips: [192.0.2.10], protocol: tcp, ports: [8080, 443], pool: web }
  - { name: rest, vips: [192.0.2.10], protocol: tcp, ports: all, pool: web }
  - { name: other, vips: [192.0.2.10], protocol: any, ports: all, pool: web }
  - { name: net, vips: [192.0.2.0/24, 192.0.0.0/16], protocol: tcp, ports: [8000-8999], pool: web }
`,
    issues: [],
  },
  {
    name: "ranges that overlap",
    text: `${DIRECTOR}${POOLS}services:
  - { name: one, vips: [192.0.2.0/24], protocol: tcp, ports: [8000-8100, 9000-9100], pool: web }
  - { name: two, vips: [192.0.2.0/24], protocol: tcp, ports: [8100-9000], pool: web }
  - { name: all, vips: [192.0.2.0/24], protocol: tcp, ports: all, pool: web }
  - { name: more, vips: [192.0.2.0/24], protocol: tcp, ports: all, pool: web }
`,
    issues: [
      '5:25: services[1].vips[0]: 192.0.2.0/24 tcp ports 8100 of 8100-9000 are taken by service "one" at 4:25; ranges must not overlap: divide them, or name single ports, which win over a range',
      '7:26: services[3].vips[0]: 192.0.2.0/24 tcp all ports are taken by service "all" at 6:25',
    ],
  },
  {
    name: "ranges that overlap in one service",
    text: withService(
      "{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80-90, 85, 90-99, 7, 443], pool: web }",
    ),
    issues: [
      "3:75: services[0].ports[1]: Port 85 is in 80-90 at 3:68 too; leave it out",
      "3:79: services[0].ports[2]: Ports 90-99 overlap 80-90 at 3:68; make them one range, or divide them",
    ],
  },
  {
    name: "any protocol with ports",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: any, ports: [80], pool: web }"),
    issues: [
      "3:67: services[0].ports: Protocol any has no ports to choose by; write ports: all, or protocol: tcp or udp",
    ],
  },
  {
    name: "prefixes with bits behind their length, and with addresses that cannot be VIPs",
    text: withService(
      '{ name: web, vips: [192.0.2.1/24, 0.0.0.0/0, 224.0.0.0/8, "2001:db8::1/64", 126.0.0.0/7], protocol: tcp, ports: [80], pool: web }',
    ),
    issues: [
      "3:32: services[0].vips[0]: 192.0.2.1/24 has bits behind its length; write 192.0.2.0/24, or the address alone",
      "3:46: services[0].vips[1]: 0.0.0.0/0 has 0.0.0.0, an unspecified address, which cannot be a VIP; use a prefix of unicast addresses",
      "3:57: services[0].vips[2]: 224.0.0.0/8 has 224.0.0.0, a multicast address, which cannot be a VIP; use a prefix of unicast addresses",
      "3:70: services[0].vips[3]: 2001:db8::1/64 has bits behind its length; write 2001:db8::/64, or the address alone",
      "3:88: services[0].vips[4]: 126.0.0.0/7 has 127.255.255.255, a loopback address, which cannot be a VIP; use a prefix of unicast addresses",
    ],
  },
  {
    name: "a backend in a prefix of VIPs: a tunnel to oneself",
    text: `${DIRECTOR}${POOLS}services: [{ name: web, vips: [198.51.100.0/24], protocol: tcp, ports: [80], pool: web }]\n`,
    issues: [
      "2:57: pools[0].backends[0].address: 198.51.100.11 is a VIP by 198.51.100.0/24, at 3:32: its packets would come back to the director; a backend needs an address of its own",
    ],
  },
  {
    name: "dscp to a backend of another family, for prefixes and for any protocol",
    text: `${DIRECTOR}pools: [{ name: web, forwarding: dscp, backends: [{ name: a, address: 198.51.100.11 }] }]
services:
  - { name: web, vips: ["2001:db8::10", 192.0.2.0/24], protocol: tcp, ports: all, pool: web }
  - { name: any, vips: [192.0.2.10], protocol: any, ports: all, pool: web }
`,
    issues: [
      '4:25: services[0].vips[0]: 2001:db8::10 is IPv6, and backend "a" at 2:51 is IPv4: dscp rewrites the address and cannot change its family; use gue or ipip there, or an IPv6 address of the backend in a pool of its own',
      '4:41: services[0].vips[1]: 192.0.2.0/24 is a prefix, and a code point names one address; backend "a" at 2:51 is forwarded to by dscp: list the addresses, or use gue or ipip there',
      '5:48: services[1].protocol: Forwarding by dscp changes addresses, which carom knows to do for TCP and UDP; backend "a" at 2:51 has it: write protocol: tcp or udp, or use gue or ipip there',
    ],
  },
  {
    name: "dscp for a UDP port that is a tunnel's",
    text: `director: { interfaces: [eth0], tunnels: { fouPort: 53 } }
pools: [{ name: web, forwarding: dscp, backends: [{ name: a, address: 198.51.100.11 }] }]
services: [{ name: dns, vips: [192.0.2.10], protocol: udp, ports: [53, 6000-7000, 8000], pool: web }]
`,
    issues: [
      '3:68: services[0].ports[0]: UDP port 53 is that of a tunnel (director.tunnels), and backend "a" at 2:51 is forwarded to by dscp: it could not tell them apart; give the tunnel another port, or use gue or ipip there',
      '3:72: services[0].ports[1]: UDP port 6080 is that of a tunnel (director.tunnels), and backend "a" at 2:51 is forwarded to by dscp: it could not tell them apart; give the tunnel another port, or use gue or ipip there',
    ],
  },
  {
    name: "more VIPs for a backend than dscp has code points, over two pools",
    text: `${DIRECTOR}pools:
  - { name: web, backends: [{ name: a, address: 198.51.100.11, forwarding: dscp }] }
  - { name: dns, forwarding: dscp, backends: [{ name: b, address: 198.51.100.11 }, { name: c, address: 198.51.100.12 }] }
services:
  - { name: web, vips: [${vips(1, 60)}], protocol: tcp, ports: [80], pool: web }
  - { name: dns, vips: [${vips(60, 4)}], protocol: udp, ports: [53], pool: dns }
  - { name: one, vips: [192.0.2.64], protocol: udp, ports: [53], pool: dns }
`,
    issues: [
      '8:25: services[2].vips[0]: One VIP too many for backend "b" at 4:47: dscp has code points for 63; give the backend a second address for more, or use gue or ipip there',
    ],
  },
  {
    name: "outer sources that cannot be",
    text: `director: { interfaces: [eth0], outerSources: [198.51.100.0/24, 10.0.0.0/8, "2001:db8:5::/64"] }
pools: [{ name: web, forwarding: gue, backends: [{ name: a, address: 198.51.100.11 }] }]
${SERVICES}`,
    issues: [
      '1:48: director.outerSources[0]: 198.51.100.0/24 has the address of backend "a" at 2:50: packets would come from where they go to; use a prefix that is only the director\'s',
      "1:65: director.outerSources[1]: A second prefix of IPv4; first at 1:48, one is used",
      "1:77: director.outerSources[2]: 2001:db8:5::/64 leaves 64 bits to the flow hash, which has 32; use a prefix of /96 or longer",
      "1:77: director.outerSources[2]: No backend is reached by a tunnel over IPv6, so nothing comes from 2001:db8:5::/64; remove it",
    ],
  },
  {
    name: "tunnels with one port for two things",
    text: `director: { interfaces: [eth0], tunnels: { guePort: 5555 } }\n`,
    issues: [
      "1:53: director.tunnels.guePort: Port 5555 is fouPort already; a backend tells tunnels apart by their ports",
    ],
  },
  {
    name: "weights too skewed for a table",
    text: `${DIRECTOR}pools:\n  - name: web\n    backends:\n      - { name: a, address: 198.51.100.1, weight: 1 }\n      - { name: b0, address: 198.51.100.10, weight: 65535 }\n      - { name: b1, address: 198.51.100.11, weight: 65535 }\n      - { name: b2, address: 198.51.100.12, weight: 65535 }\n      - { name: b3, address: 198.51.100.13, weight: 65535 }\n      - { name: b4, address: 198.51.100.14, weight: 65535 }\n${SERVICES}`,
    issues: [
      '5:7: pools[0].backends: Cannot build a table: weight 1 of "a" is less than 4 of 1048576 buckets, the weights sum to 327676; give every member at least weight 2, or divide the larger weights',
    ],
  },
  {
    name: "weights beside one that is wrong",
    text: `${DIRECTOR}pools:\n  - name: web\n    backends:\n      - { name: a, address: 198.51.100.1, weight: 1 }\n      - { name: z, address: 198.51.100.2, weight: 0 }\n      - { name: b0, address: 198.51.100.10, weight: 65535 }\n      - { name: b1, address: 198.51.100.11, weight: 65535 }\n      - { name: b2, address: 198.51.100.12, weight: 65535 }\n      - { name: b3, address: 198.51.100.13, weight: 65535 }\n      - { name: b4, address: 198.51.100.14, weight: 65535 }\n${SERVICES}`,
    issues: ["6:51: pools[0].backends[1].weight: Expected an integer from 1 to 65535; got 0"],
  },
  {
    name: "a pool that is not there",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: mail }"),
    issues: [
      '2:17: pools[0].name: No service uses pool "web"; name it in a service or remove it',
      '3:79: services[0].pool: No pool is named "mail"',
    ],
  },
  {
    name: "a slip in a pool's name, which is then not unused",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: wbe }"),
    issues: ['3:79: services[0].pool: No pool is named "wbe"; did you mean "web"?'],
  },
  {
    name: "a service without any pools",
    text: `${DIRECTOR}${SERVICES}`,
    issues: ['2:79: services[0].pool: No pool is named "web"'],
  },
  {
    name: "a pool that no service uses",
    text: `${DIRECTOR}${POOLS}`,
    issues: ['2:17: pools[0].name: No service uses pool "web"; name it in a service or remove it'],
  },
  {
    name: "a pool whose name is wrong is neither unknown nor unused",
    text: `${DIRECTOR}pools: [{ name: w b, backends: [{ name: web-1, address: 198.51.100.11 }] }]\n${SERVICES}`,
    issues: [
      '2:17: pools[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got "w b"',
    ],
  },
  {
    name: "pools are not unused when services are unreadable",
    text: `${DIRECTOR}${POOLS}services: none\n`,
    issues: ['3:11: services: Expected a list of services; got "none"'],
  },
  {
    name: "pools are not unused when a service's pool is unreadable",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: [web] }"),
    issues: [
      '3:79: services[0].pool: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got a list of 1',
    ],
  },
  {
    name: "rules speak of what is left beside invalid parts",
    text: `${DIRECTOR}pools: [{ name: web, forwarding: x, backends: [{ name: a, address: 192.0.2.10 }, { name: a, address: 1 }, 3] }]\nservices: [{ name: web, vips: [192.0.2.10, x], protocol: tcp, ports: [80, 0, 80], pool: web }]\n`,
    issues: [
      '2:34: pools[0].forwarding: Expected l2, ipip, gre, fou, gue or dscp; got "x"',
      "2:68: pools[0].backends[0].address: 192.0.2.10 is a VIP, at 3:32: its packets would come back to the director; a backend needs an address of its own",
      '2:90: pools[0].backends[1].name: Duplicate backend name "a"; first at 2:56',
      "2:102: pools[0].backends[1].address: Expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10; got 1 (a number; put it in quotes)",
      "2:107: pools[0].backends[2]: Expected a map with the keys name and address; got 3",
      '3:44: services[0].vips[1]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "x"',
      "3:75: services[0].ports[1]: Expected a port from 1 to 65535, or a range such as 8000-8999; got 0",
      "3:78: services[0].ports[2]: Duplicate port 80; first at 3:71",
    ],
  },
  {
    name: "the hash key",
    text: "director: { interfaces: [eth0], hashKeyFile: absent.key }\n",
    issues: ["1:46: director.hashKeyFile: Cannot read the hash key: it does not exist"],
  },
  {
    name: "a hash key of 33 bytes",
    text: "director: { interfaces: [eth0], hashKeyFile: long.key }\n",
    issues: [
      "1:46: director.hashKeyFile: Not a hash key: expected 32 bytes or 64 hex digits; the file has 33 bytes",
    ],
  },
];

const readSecret = (file: string): SecretReading =>
  file.endsWith("long.key")
    ? { kind: "read", bytes: new Uint8Array(33) }
    : { kind: "refused", reason: "it does not exist" };

for (const { name, text, issues } of rows) {
  test(`checkText(): ${name}`, () => {
    const found = checkText(text, "f", readSecret).map((issue) =>
      formatIssue(issue).slice("f:".length),
    );
    assert.deepEqual(found, issues);
  });
}
