/** What is wrong with the shape: missing, unknown, not yet, out of range. */
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

const rows: readonly { name: string; text: string; issues: readonly string[] }[] = [
  {
    name: "both kinds in one file",
    text: `${DIRECTOR}agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [198.51.100.2] }\n`,
    issues: ["2:1: agent: A director's file has no agent; put it in a file of its own"],
  },
  {
    name: "neither kind",
    text: "{}\n",
    issues: ["1:1: director: Missing; expected a map with the key interfaces"],
  },
  {
    name: "a slip in a top-level key",
    text: `${DIRECTOR}polls: []\n`,
    issues: ['2:1: polls: Unknown key; did you mean "pools"?'],
  },
  {
    name: "a top-level key like no other",
    text: `${DIRECTOR}frontends: []\n`,
    issues: ["2:1: frontends: Unknown key; allowed are director, pools, services"],
  },
  {
    name: "keys that JavaScript knows",
    text: `${DIRECTOR}__proto__: 1\nconstructor: 2\n`,
    issues: [
      "2:1: __proto__: Unknown key; allowed are director, pools, services",
      "3:1: constructor: Unknown key; allowed are director, pools, services",
    ],
  },
  {
    name: "a key with spaces and control characters",
    text: `${DIRECTOR}"a\\tb\\nc": 1\n`,
    issues: ['2:1: ["a\\tb\\nc"]: Unknown key; allowed are director, pools, services'],
  },
  {
    name: "top-level keys of later versions",
    text: `${DIRECTOR}agents: {}\nfellows: {}\nannounce: { mode: bgp }\nbgp: { asn: 64512 }\n`,
    issues: [
      "2:1: agents: Not yet: this version has no agents that dial the directors; remove the key",
      "3:1: fellows: Not yet: this version has no fellow directors; remove the key",
      "4:1: announce: Not yet: this version has no announcement of VIPs; remove the key",
      "5:1: bgp: Not yet: this version has no BGP; remove the key",
    ],
  },
  {
    name: "keys of later versions further in",
    text: `${DIRECTOR}pools: [{ name: web, checks: [], scheduler: x, backends: [{ name: web-1, address: 198.51.100.11 }] }]\nservices: [{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web, need: 1 }]\n`,
    issues: [
      "2:22: pools[0].checks: Not yet: this version has no health checks; remove the key",
      "2:34: pools[0].scheduler: Not yet: this version has no choice of scheduler; remove the key",
      "3:84: services[0].need: Not yet: this version has no announcement by healthy backends; remove the key",
    ],
  },
  {
    name: "a key of a later version at another place is unknown",
    text: `${DIRECTOR}checks: []\n`,
    issues: ["2:1: checks: Unknown key; allowed are director, pools, services"],
  },
  {
    name: "a key file of an agent",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [198.51.100.2], keyFile: k }\n",
    issues: [
      "1:77: agent.keyFile: Not yet: this version has no agents that dial the directors; remove the key",
    ],
  },
  {
    name: "a forwarding of a later version",
    text: `${DIRECTOR}pools: [{ name: web, forwarding: nat, backends: [{ name: a, address: 198.51.100.1 }] }]\n${SERVICES}`,
    issues: [
      "2:34: pools[0].forwarding: Not yet: this version has no forwarding by nat; use gue or ipip",
    ],
  },
  {
    name: "a forwarding of no version",
    text: withBackend("{ name: web-1, address: 198.51.100.11, forwarding: tunnel }"),
    issues: [
      '2:84: pools[0].backends[0].forwarding: Expected l2, ipip, gre, fou, gue or dscp; got "tunnel"',
    ],
  },
  {
    name: "ranges that are none",
    text: withService(
      '{ name: web, vips: [192.0.2.10], protocol: tcp, ports: ["1:2", 9-8, 80-80, 0-9, 1-65536, all], pool: web }',
    ),
    issues: ['"1:2"', '"9-8"', '"80-80"', '"0-9"', '"1-65536"', '"all"'].map(
      (got, index) =>
        `3:${[68, 75, 80, 87, 92, 101][index]}: services[0].ports[${index}]: Expected a port from 1 to 65535, or a range such as 8000-8999; got ${got}`,
    ),
  },
  {
    name: "prefixes that are none",
    text: withService(
      '{ name: web, vips: [192.0.2.0/33, "2001:db8::/129", 192.0.2.0/08, 192.0.2.0/, 192.0.2.0/24/24], protocol: tcp, ports: [80], pool: web }',
    ),
    issues: ["192.0.2.0/33", "2001:db8::/129", "192.0.2.0/08", "192.0.2.0/", "192.0.2.0/24/24"].map(
      (got, index) =>
        `3:${[32, 46, 64, 78, 90][index]}: services[0].vips[${index}]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "${got}"`,
    ),
  },
  {
    name: "values of tunnels",
    text: `director: { interfaces: [eth0], tunnels: { fouPort: 0, guePort: "6080", udpChecksum: 1, port: 1 }, outerSources: 10.0.0.0/8, vlanTags: 3 }\n`,
    issues: [
      "1:53: director.tunnels.fouPort: Expected a port, an integer from 1 to 65535; got 0",
      '1:65: director.tunnels.guePort: Expected a port, an integer from 1 to 65535; got "6080" (a text; remove the quotes)',
      "1:86: director.tunnels.udpChecksum: Expected true or false; got 1",
      "1:89: director.tunnels.port: Unknown key; allowed are fouPort, fouPortIpv6, guePort, udpChecksum",
      '1:114: director.outerSources: Expected a list of addresses or prefixes; got "10.0.0.0/8"',
      "1:136: director.vlanTags: Expected auto, 0, 1 or 2; got 3",
    ],
  },
  {
    name: "a director without keys",
    text: "director: {}\n",
    issues: ["1:11: director.interfaces: Missing; expected a list of at least one interface name"],
  },
  {
    name: "a director without value",
    text: "director:\n",
    issues: ["1:10: director: Expected a map with the key interfaces; got nothing"],
  },
  {
    name: "lists without value",
    text: "director: { interfaces: }\npools:\nservices:\n",
    issues: [
      "1:25: director.interfaces: Expected a list of at least one interface name; got nothing",
      "2:7: pools: Expected a list of pools; got nothing",
      "3:10: services: Expected a list of services; got nothing",
    ],
  },
  {
    name: "a map for a list",
    text: `${DIRECTOR}pools: { web: {} }\n`,
    issues: ["2:8: pools: Expected a list of pools; got a map"],
  },
  {
    name: "an empty list of interfaces",
    text: "director: { interfaces: [] }\n",
    issues: [
      "1:25: director.interfaces: Expected a list of at least one interface name; got an empty list",
    ],
  },
  {
    name: "interface names",
    text: 'director: { interfaces: ["a b", a/b, "a:b", ., .., "", sixteen-letters-, äöüäöüäö, 7] }\n',
    issues: [
      '1:26: director.interfaces[0]: Expected an interface name: 1 to 15 bytes without space, / or :; got "a b"',
      '1:33: director.interfaces[1]: Expected an interface name: 1 to 15 bytes without space, / or :; got "a/b"',
      '1:38: director.interfaces[2]: Expected an interface name: 1 to 15 bytes without space, / or :; got "a:b"',
      '1:45: director.interfaces[3]: Expected an interface name: 1 to 15 bytes without space, / or :; got "."',
      '1:48: director.interfaces[4]: Expected an interface name: 1 to 15 bytes without space, / or :; got ".."',
      '1:52: director.interfaces[5]: Expected an interface name: 1 to 15 bytes without space, / or :; got ""',
      '1:56: director.interfaces[6]: Expected an interface name: 1 to 15 bytes without space, / or :; got "sixteen-letters-"',
      '1:74: director.interfaces[7]: Expected an interface name: 1 to 15 bytes without space, / or :; got "äöüäöüäö"',
      "1:84: director.interfaces[8]: Expected an interface name: 1 to 15 bytes without space, / or :; got 7 (a number; put it in quotes)",
    ],
  },
  {
    name: "instance names",
    text: "director: { interfaces: [eth0], instance: Main.1 }\n",
    issues: ['1:43: director.instance: Expected a name: 1 to 32 of a-z, 0-9 and "-"; got "Main.1"'],
  },
  {
    name: "an instance name of 33",
    text: `director: { interfaces: [eth0], instance: ${"a".repeat(33)} }\n`,
    issues: [
      '1:43: director.instance: Expected a name: 1 to 32 of a-z, 0-9 and "-"; got "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
    ],
  },
  {
    name: "an XDP mode",
    text: "director: { interfaces: [eth0], xdpMode: skb }\n",
    issues: ['1:42: director.xdpMode: Expected auto, native or generic; got "skb"'],
  },
  {
    name: "an empty key file",
    text: "director: { interfaces: [eth0], hashKeyFile: '' }\n",
    issues: ['1:46: director.hashKeyFile: Expected a file name; got ""'],
  },
  {
    name: "a backend without keys",
    text: withBackend("{}"),
    issues: [
      "2:33: pools[0].backends[0].address: Missing; expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10",
      '2:33: pools[0].backends[0].name: Missing; expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit',
    ],
  },
  {
    name: "a backend that is a word",
    text: withBackend("web-1"),
    issues: [
      '2:33: pools[0].backends[0]: Expected a map with the keys name and address; got "web-1"',
    ],
  },
  {
    name: "a backend that is nothing",
    text: withBackend(" null "),
    issues: [
      "2:34: pools[0].backends[0]: Expected a map with the keys name and address; got nothing",
    ],
  },
  {
    name: "a slip in a backend's key",
    text: withBackend("{ name: web-1, adress: 198.51.100.11 }"),
    issues: [
      "2:33: pools[0].backends[0].address: Missing; expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10",
      '2:48: pools[0].backends[0].adress: Unknown key; did you mean "address"?',
    ],
  },
  {
    name: "a weight of 0",
    text: withBackend("{ name: web-1, address: 198.51.100.11, weight: 0 }"),
    issues: ["2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got 0"],
  },
  {
    name: "a weight of 65536",
    text: withBackend("{ name: web-1, address: 198.51.100.11, weight: 65536 }"),
    issues: ["2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got 65536"],
  },
  {
    name: "a weight of 1.5",
    text: withBackend("{ name: web-1, address: 198.51.100.11, weight: 1.5 }"),
    issues: ["2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got 1.5"],
  },
  {
    name: "a weight that is no number",
    text: withBackend("{ name: web-1, address: 198.51.100.11, weight: .nan }"),
    issues: ["2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got NaN"],
  },
  {
    name: "a weight in quotes",
    text: withBackend('{ name: web-1, address: 198.51.100.11, weight: "10" }'),
    issues: [
      '2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got "10" (a text; remove the quotes)',
    ],
  },
  {
    name: "a weight of nothing",
    text: withBackend("{ name: web-1, address: 198.51.100.11, weight: }"),
    issues: ["2:80: pools[0].backends[0].weight: Expected an integer from 1 to 65535; got nothing"],
  },
  {
    name: "a name that is a number",
    text: withBackend("{ name: 1, address: 198.51.100.11 }"),
    issues: [
      '2:41: pools[0].backends[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got 1 (a number; put it in quotes)',
    ],
  },
  {
    name: "a name that is a boolean",
    text: withBackend("{ name: true, address: 198.51.100.11 }"),
    issues: [
      '2:41: pools[0].backends[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got true (a boolean; put it in quotes)',
    ],
  },
  {
    name: "a name of 64",
    text: withBackend(`{ name: ${"a".repeat(64)}, address: 198.51.100.11 }`),
    issues: [
      '2:41: pools[0].backends[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."',
    ],
  },
  {
    name: "an address with a leading zero",
    text: withBackend("{ name: web-1, address: 198.051.100.11 }"),
    issues: [
      '2:57: pools[0].backends[0].address: Expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10; got "198.051.100.11"',
    ],
  },
  {
    name: "an address with a zone",
    text: withBackend("{ name: web-1, address: fe80::1%eth0 }"),
    issues: [
      '2:57: pools[0].backends[0].address: Expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10; got "fe80::1%eth0"',
    ],
  },
  {
    name: "a host name for an address",
    text: withBackend("{ name: web-1, address: web-1.example }"),
    issues: [
      '2:57: pools[0].backends[0].address: Expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10; got "web-1.example"',
    ],
  },
  {
    name: "a number for an address",
    text: withBackend("{ name: web-1, address: 198.51 }"),
    issues: [
      "2:57: pools[0].backends[0].address: Expected an IPv4 or IPv6 address, such as 192.0.2.10 or 2001:db8::10; got 198.51 (a number; put it in quotes)",
    ],
  },
  {
    name: "a pool without backends",
    text: `${DIRECTOR}pools: [{ name: web, backends: [] }]\n${SERVICES}`,
    issues: ["2:32: pools[0].backends: Expected a list of 1 to 65535 backends; got an empty list"],
  },
  {
    name: "a pool without the key",
    text: `${DIRECTOR}pools: [{ name: web }]\n${SERVICES}`,
    issues: ["2:9: pools[0].backends: Missing; expected a list of 1 to 65535 backends"],
  },
  {
    name: "a service without keys",
    text: withService("{}"),
    issues: [
      '3:12: services[0].name: Missing; expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit',
      '3:12: services[0].pool: Missing; expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit',
      "3:12: services[0].ports: Missing; expected a list of at least one port or range, or all",
      "3:12: services[0].protocol: Missing; expected tcp, udp or any",
      "3:12: services[0].vips: Missing; expected a list of at least one address or prefix",
    ],
  },
  {
    name: "a protocol",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: TCP, ports: [80], pool: web }"),
    issues: ['3:55: services[0].protocol: Expected tcp, udp or any; got "TCP"'],
  },
  {
    name: "ports",
    text: withService(
      '{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [0, 65536, -1, 80.5, "80", http], pool: web }',
    ),
    issues: [
      "3:68: services[0].ports[0]: Expected a port from 1 to 65535, or a range such as 8000-8999; got 0",
      "3:71: services[0].ports[1]: Expected a port from 1 to 65535, or a range such as 8000-8999; got 65536",
      "3:78: services[0].ports[2]: Expected a port from 1 to 65535, or a range such as 8000-8999; got -1",
      "3:82: services[0].ports[3]: Expected a port from 1 to 65535, or a range such as 8000-8999; got 80.5",
      '3:88: services[0].ports[4]: Expected a port from 1 to 65535, or a range such as 8000-8999; got "80" (a text; remove the quotes)',
      '3:94: services[0].ports[5]: Expected a port from 1 to 65535, or a range such as 8000-8999; got "http"',
    ],
  },
  {
    name: "a port that is no list",
    text: withService("{ name: web, vips: [192.0.2.10], protocol: tcp, ports: 80, pool: web }"),
    issues: [
      "3:67: services[0].ports: Expected a list of at least one port or range, or all; got 80",
    ],
  },
  {
    name: "empty lists in a service",
    text: withService("{ name: web, vips: [], protocol: tcp, ports: [], pool: web }"),
    issues: [
      "3:31: services[0].vips: Expected a list of at least one address or prefix; got an empty list",
      "3:57: services[0].ports: Expected a list of at least one port or range, or all; got an empty list",
    ],
  },
  {
    name: "an agent without keys",
    text: "agent: {}\n",
    issues: [
      "1:8: agent.directors: Missing; expected a list of at least one address or prefix",
      "1:8: agent.interfaces: Missing; expected a list of at least one interface name",
      "1:8: agent.vips: Missing; expected a list of at least one address or prefix",
    ],
  },
  {
    name: "an agent with a key of a director",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [198.51.100.2], hashKeyFile: k }\n",
    issues: [
      "1:77: agent.hashKeyFile: Unknown key; allowed are instance, interfaces, mode, vips, directors, tunnels, dscp, vlanTags",
    ],
  },
];

const readSecret = (): SecretReading => ({ kind: "refused", reason: "not read here" });

for (const { name, text, issues } of rows) {
  test(`checkText(): ${name}`, () => {
    const found = checkText(text, "f", readSecret).map((issue) =>
      formatIssue(issue).slice("f:".length),
    );
    assert.deepEqual(found, issues);
  });
}
