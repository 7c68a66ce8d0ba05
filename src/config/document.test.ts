/** What is wrong with the text itself: YAML, and what this reader refuses of YAML. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIssue } from "./issue.ts";
import { checkText } from "./parse.ts";
import type { SecretReading } from "./secret.ts";

const DIRECTOR = "director: { interfaces: [eth0] }\n";
/** A hundred million values in a few lines. */
const BOMB = ["b", "c", "d", "e", "f", "g", "h"].reduce(
  (text, key, index) => `${text}\n${key}: &${key} [${`*${"abcdefg"[index]}, `.repeat(10)}]`,
  "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
);

const rows: readonly { name: string; text: string; issues: readonly string[] }[] = [
  {
    name: "an empty file",
    text: "",
    issues: [
      "1:1: The file is empty; expected a map with the keys director, pools and services, or agent",
    ],
  },
  {
    name: "a file of comments",
    text: "# nothing\n",
    issues: [
      "1:1: The file is empty; expected a map with the keys director, pools and services, or agent",
    ],
  },
  {
    name: "a file of a word",
    text: "hello\n",
    issues: [
      '1:1: Expected a map with the keys director, pools and services, or agent; got "hello"',
    ],
  },
  {
    name: "a file of a list",
    text: "- director\n",
    issues: [
      "1:1: Expected a map with the keys director, pools and services, or agent; got a list of 1",
    ],
  },
  {
    name: "an unclosed map",
    text: "director: { interfaces: [eth0]\npools: []\n",
    issues: [
      "2:1: Not valid YAML: Flow map in block collection must be sufficiently indented and end with a }",
    ],
  },
  {
    name: "an unclosed quote",
    text: 'director: { interfaces: ["eth0] }\n',
    issues: [
      "2:1: Not valid YAML: Flow map in block collection must be sufficiently indented and end with a }",
      "2:1: Not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
      '2:1: Not valid YAML: Missing closing "quote',
    ],
  },
  {
    name: "a tab as indentation",
    text: "director:\n\tinterfaces: [eth0]\n",
    issues: ["2:1: Not valid YAML: Tabs are not allowed as indentation"],
  },
  {
    name: "a map in a line of a map",
    text: "director: interfaces: [eth0]\n",
    issues: ["1:11: Not valid YAML: Nested mappings are not allowed in compact mappings"],
  },
  {
    name: "two mistakes in YAML",
    text: "director:\n\tinterfaces: [eth0]\npools: web: []\n",
    issues: [
      "2:1: Not valid YAML: Tabs are not allowed as indentation",
      "3:8: Not valid YAML: Nested mappings are not allowed in compact mappings",
    ],
  },
  {
    name: "what comes before broken YAML is checked",
    text: "director: { interfaces: [eth 0], instance: A }\npools: web: []\nservices: 3\n",
    issues: [
      '1:26: director.interfaces[0]: Expected an interface name: 1 to 15 bytes without space, / or :; got "eth 0"',
      '1:44: director.instance: Expected a name: 1 to 32 of a-z, 0-9 and "-"; got "A"',
      "2:8: Not valid YAML: Nested mappings are not allowed in compact mappings",
    ],
  },
  {
    name: "behind broken YAML nothing is missing",
    text: "director: { xdpMode: fast }\nservices: [{ name: a b, ports: [80 }]\n",
    issues: [
      '1:22: director.xdpMode: Expected auto, native or generic; got "fast"',
      '2:20: services[0].name: Expected a name: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit; got "a b"',
      "2:36: Not valid YAML: Flow map in block collection must be sufficiently indented and end with a }",
      "2:36: Not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
      "2:37: Not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
  },
  {
    name: "two documents",
    text: `${DIRECTOR}---\n${DIRECTOR}`,
    issues: ['2:1: A second document starts here ("---"); a file holds one'],
  },
  {
    name: "YAML 1.1",
    text: `%YAML 1.1\n---\n${DIRECTOR}`,
    issues: ["1:1: Only YAML 1.2 is read; remove the %YAML line"],
  },
  {
    name: "an unknown directive",
    text: `%CAROM 1\n---\n${DIRECTOR}`,
    issues: ["1:1: Not valid YAML: Unknown directive %CAROM"],
  },
  {
    name: "an unknown tag",
    text: "director: { interfaces: !list [eth0] }\n",
    issues: ["1:25: Not valid YAML: Unresolved tag: !list"],
  },
  {
    name: "a key twice",
    text: `${DIRECTOR}director: { interfaces: [eth1] }\n`,
    issues: ["2:1: director: Duplicate key; first at 1:1"],
  },
  {
    name: "a key three times, one quoted",
    text: 'director: { interfaces: [eth0], instance: a, "instance": b, instance: c }\n',
    issues: [
      "1:46: director.instance: Duplicate key; first at 1:33",
      "1:61: director.instance: Duplicate key; first at 1:33",
    ],
  },
  {
    name: "a list as key",
    text: "director: { interfaces: [eth0], [a]: 1 }\n",
    issues: ["1:33: director: Expected a plain word as key; got something else"],
  },
  {
    name: "a key without text",
    text: "director: { interfaces: [eth0], : 1 }\n",
    issues: ["1:33: director: Expected a plain word as key; got something else"],
  },
  {
    name: "an alias as key",
    text: "director: { interfaces: [&name eth0], *name : 1 }\n",
    issues: ["1:39: director: Expected a plain word as key; got something else"],
  },
  {
    name: "a number as key",
    text: "director: { interfaces: [eth0], 80: 1 }\n",
    issues: [
      "1:33: director.80: Unknown key; allowed are instance, interfaces, xdpMode, hashKeyFile, tunnels, outerSources, vlanTags",
    ],
  },
  {
    name: "a merge key",
    text: "director: { <<: {}, interfaces: [eth0] }\n",
    issues: ['1:13: director["<<"]: Merge keys are not supported; use an alias for a whole value'],
  },
  {
    name: "an alias without anchor",
    text: "director: { interfaces: *names }\n",
    issues: ['1:25: director.interfaces: No anchor "&names" before this alias'],
  },
  {
    name: "an alias before its anchor",
    text: "director: { instance: *name, interfaces: [&name eth0] }\n",
    issues: ['1:23: director.instance: No anchor "&name" before this alias'],
  },
  {
    name: "an alias inside its own anchor",
    text: "director: { interfaces: &all [eth0, *all] }\n",
    issues: ['1:37: director.interfaces[1]: Alias "*all" stands inside its own anchor'],
  },
  {
    name: "a mistake behind an alias is at both places",
    text: "agent: { interfaces: [eth0], vips: &ips [198.51.100.300], directors: *ips }\n",
    issues: [
      '1:42: agent.vips[0]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "198.51.100.300"',
      '1:70: agent.directors[0]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "198.51.100.300"',
    ],
  },
  {
    name: "an anchor given again leaves earlier aliases what they were",
    text: "agent: { interfaces: &all [&one eth0, *one], instance: &one a b, vips: *all, mode: *one, directors: [*one] }\n",
    issues: [
      '1:39: agent.interfaces[1]: Duplicate interface "eth0"; first at 1:33',
      '1:61: agent.instance: Expected a name: 1 to 32 of a-z, 0-9 and "-"; got "a b"',
      '1:72: agent.vips[0]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "eth0"',
      '1:72: agent.vips[1]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "eth0"',
      '1:84: agent.mode: Expected auto, native, tc or generic; got "a b"',
      '1:102: agent.directors[0]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "a b"',
    ],
  },
  {
    name: "a duplicate key behind an alias is said once",
    text: `${DIRECTOR}pools:\n  - { name: a, backends: &b [{ name: x, name: y, address: 198.51.100.11 }] }\n  - { name: b, backends: *b }\nservices:\n  - { name: a, vips: &v [192.0.2.10], protocol: tcp, ports: [80], pool: a }\n  - { name: b, vips: *v, protocol: tcp, ports: [80], pool: b }\n`,
    issues: [
      "3:41: pools[0].backends[0].name: Duplicate key; first at 3:32",
      '7:22: services[1].vips[0]: 192.0.2.10 tcp port 80 is taken by service "a" at 6:26',
    ],
  },
  {
    name: "nesting that YAML allows",
    text: `director: { interfaces: ${"[".repeat(40)}${"]".repeat(40)} }\n`,
    issues: [
      "1:26: director.interfaces[0]: Expected an interface name: 1 to 15 bytes without space, / or :; got a list of 1",
      "1:56: director.interfaces[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: Nested too deeply; a configuration has at most 32 levels",
    ],
  },
  {
    name: "nesting that ends the stack",
    text: "[".repeat(20_000),
    issues: ["1:1: Nested too deeply; a configuration has at most 32 levels"],
  },
  {
    name: "aliases that multiply",
    text: BOMB,
    issues: ["1:1: Too large: more than 1000000 values with its aliases expanded"],
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
