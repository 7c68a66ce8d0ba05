/** What is wrong with an agent's file beyond its shape. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIssue } from "./issue.ts";
import { checkText } from "./parse.ts";
import type { SecretReading } from "./secret.ts";

const rows: readonly { name: string; text: string; issues: readonly string[] }[] = [
  {
    name: "an interface twice",
    text: "agent: { interfaces: [eth0, eth0], vips: [192.0.2.10], directors: [198.51.100.2] }\n",
    issues: ['1:29: agent.interfaces[1]: Duplicate interface "eth0"; first at 1:23'],
  },
  {
    name: "a VIP twice",
    text: 'agent: { interfaces: [eth0], vips: ["2001:db8::10", "2001:db8:0::10"], directors: [198.51.100.2] }\n',
    issues: ['1:53: agent.vips[1]: Duplicate VIP "2001:db8::10"; first at 1:37'],
  },
  {
    name: "a VIP that no client reaches",
    text: "agent: { interfaces: [eth0], vips: [224.0.0.1], directors: [198.51.100.2] }\n",
    issues: [
      "1:37: agent.vips[0]: 224.0.0.1 is a multicast address and cannot be a VIP; use a unicast address",
    ],
  },
  {
    name: "a director in a prefix of VIPs",
    text: "agent: { interfaces: [eth0], vips: [198.51.100.0/24], directors: [198.51.100.2] }\n",
    issues: [
      "1:67: agent.directors[0]: 198.51.100.2 is a VIP by 198.51.100.0/24, at 1:37; a director sends from an address of its own",
    ],
  },
  {
    name: "directors in a prefix, which has a VIP, and bits behind its length",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [198.51.100.0/29, 192.0.2.0/24, 198.51.100.9/29] }\n",
    issues: [
      "1:79: agent.directors[1]: 192.0.2.0/24 shares addresses with VIP 192.0.2.10 at 1:37; directors send from addresses of their own",
      "1:93: agent.directors[2]: 198.51.100.9/29 has bits behind its length; write 198.51.100.8/29, or the address alone",
    ],
  },
  {
    name: "code points for what is no VIP, twice, of another family and at an address twice",
    text: `agent: { interfaces: [eth0], vips: [192.0.2.0/26], directors: [198.51.100.2], dscp: [{ address: 198.51.100.3, vips: [192.0.2.1, 192.0.2.64, 192.0.2.1] }, { address: 198.51.100.3, vips: ["2001:db8::1"] }, { address: 192.0.2.9, vips: [192.0.2.1] }] }\n`,
    issues: [
      "1:129: agent.dscp[0].vips[1]: 192.0.2.64 is not among vips; add it there, a code point can only name what this backend serves",
      '1:141: agent.dscp[0].vips[2]: Duplicate VIP "192.0.2.1"; first at 1:118',
      '1:166: agent.dscp[1].address: Duplicate address "198.51.100.3"; first at 1:97',
      "1:187: agent.dscp[1].vips[0]: 2001:db8::1 is not among vips; add it there, a code point can only name what this backend serves",
      "1:187: agent.dscp[1].vips[0]: 2001:db8::1 is of another family than 198.51.100.3; dscp cannot change it, list it under an address of its family",
      "1:216: agent.dscp[2].address: 192.0.2.9 is a VIP, at 1:37; directors send to an address of the backend's own",
    ],
  },
  {
    name: "more code points than there are",
    text: `agent: { interfaces: [eth0], vips: [192.0.2.0/24], directors: [198.51.100.2], dscp: [{ address: 198.51.100.3, vips: [${Array.from({ length: 64 }, (_, index) => `192.0.2.${index}`).join()}] }] }\n`,
    issues: ["1:117: agent.dscp[0].vips: Expected a list of 1 to 63 addresses; got a list of 64"],
  },
  {
    name: "one port for two tunnels",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.0/24], directors: [198.51.100.2], tunnels: { fouPort: 7, fouPortIpv6: 7 } }\n",
    issues: [
      "1:115: agent.tunnels.fouPortIpv6: Port 7 is fouPort already; a backend tells tunnels apart by their ports",
    ],
  },
  {
    name: "a director twice",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [198.51.100.2, 198.51.100.2] }\n",
    issues: ['1:76: agent.directors[1]: Duplicate director "198.51.100.2"; first at 1:62'],
  },
  {
    name: "a director that cannot be one",
    text: 'agent: { interfaces: [eth0], vips: [192.0.2.10], directors: ["::1"] }\n',
    issues: [
      "1:62: agent.directors[0]: ::1 is a loopback address and cannot be a director; use a unicast address",
    ],
  },
  {
    name: "a director that is a VIP",
    text: "agent: { interfaces: [eth0], vips: [192.0.2.10], directors: [192.0.2.10] }\n",
    issues: [
      "1:62: agent.directors[0]: 192.0.2.10 is a VIP, at 1:37; a director sends from an address of its own",
    ],
  },
  {
    name: "several mistakes",
    text: "agent: { interfaces: [eth 0], vips: [192.0.2.10, x, 192.0.2.10], directors: [], instance: A }\n",
    issues: [
      '1:23: agent.interfaces[0]: Expected an interface name: 1 to 15 bytes without space, / or :; got "eth 0"',
      '1:50: agent.vips[1]: Expected an IPv4 or IPv6 address or prefix, such as 192.0.2.10 or 2001:db8:7::/64; got "x"',
      '1:53: agent.vips[2]: Duplicate VIP "192.0.2.10"; first at 1:38',
      "1:77: agent.directors: Expected a list of at least one address or prefix; got an empty list",
      '1:91: agent.instance: Expected a name: 1 to 32 of a-z, 0-9 and "-"; got "A"',
    ],
  },
];

const readSecret = (): SecretReading => ({ kind: "refused", reason: "not read here" });

for (const { name, text, issues } of rows) {
  test(`checkText() of an agent's file: ${name}`, () => {
    const found = checkText(text, "f", readSecret).map((issue) =>
      formatIssue(issue).slice("f:".length),
    );
    assert.deepEqual(found, issues);
  });
}
