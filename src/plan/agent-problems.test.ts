import assert from "node:assert/strict";
import { test } from "node:test";
import type { Link } from "../kernel/rtnetlink-links.ts";
import { type AgentConfig, defaultTunnels } from "../model/model.ts";
import { vip } from "../model/service-fixture.ts";
import { ip } from "../net/address.ts";
import { mac } from "../net/mac.ts";
import { type AgentHostFacts, agentProblems } from "./agent-problems.ts";

const config: AgentConfig = {
  instance: "main",
  interfaces: ["eth0"],
  mode: "auto",
  vips: [vip("203.0.113.200")],
  directors: [vip("192.0.2.2")],
  tunnels: defaultTunnels,
  dscp: [],
  vlanTags: "auto",
};

const link = (rest: Partial<Link>): Link => ({
  ifindex: 2,
  name: "eth0",
  mac: mac("00:00:5e:00:53:11"),
  permanentMac: null,
  mtu: 1500,
  up: true,
  lowerUp: true,
  operational: true,
  kind: null,
  vlan: null,
  master: null,
  lower: null,
  xdp: [],
  ...rest,
});
const lo = link({ ifindex: 1, name: "lo", mac: mac("00:00:00:00:00:00") });

const host = (rest: Partial<AgentHostFacts>): AgentHostFacts => ({
  links: [lo, link({})],
  addresses: [],
  ownIfindexes: new Set(),
  xdpProgramOn: () => 'id 12 "xdp_foo"',
  sysctls: [],
  knownSysctls: [],
  ...rest,
});

const somebodys = link({ xdp: [{ mode: "generic", programId: 12 }] });

const rows: readonly {
  readonly name: string;
  readonly host: Partial<AgentHostFacts>;
  readonly config?: Partial<AgentConfig>;
  readonly says: readonly string[];
}[] = [
  { name: "a host that fits", host: {}, says: [] },
  {
    name: "no such interface",
    host: { links: [lo, link({ name: "ens3" })] },
    says: ["Cannot attach to eth0: no such interface; this host has lo, ens3"],
  },
  {
    name: "interface and lo down: both are said",
    host: { links: [{ ...lo, up: false }, link({ up: false })] },
    says: [
      'Cannot put VIPs on lo: it is down; set it up with "ip link set lo up"',
      'Cannot attach to eth0: it is down; set it up with "ip link set eth0 up"',
    ],
  },
  {
    name: "lo as an interface",
    host: {},
    config: { interfaces: ["lo"] },
    says: [
      "Cannot attach to lo: it is no Ethernet interface; name the one that packets of the directors arrive on",
    ],
  },
  {
    name: "somebody else's program",
    host: { links: [lo, somebodys] },
    says: [
      'Cannot attach to eth0: it already has a generic XDP program (id 12 "xdp_foo"); stop what it belongs to, or remove it with "ip link set dev eth0 xdpgeneric off"',
    ],
  },
  {
    name: "a program of the run before",
    host: { links: [lo, somebodys], ownIfindexes: new Set([2]) },
    says: [],
  },
  {
    name: "the VIP on another interface",
    host: {
      addresses: [
        { ifindex: 2, address: ip("203.0.113.200"), prefixLength: 24, scope: "global", flags: [] },
      ],
    },
    says: [
      'Cannot serve VIP 203.0.113.200: this host has the address on eth0, where it answers for it instead of the directors; remove it with "ip addr del 203.0.113.200/24 dev eth0"',
    ],
  },
  {
    name: "addresses by dscp that it has and has not",
    host: {
      addresses: [
        { ifindex: 2, address: ip("192.0.2.14"), prefixLength: 24, scope: "global", flags: [] },
      ],
    },
    config: {
      dscp: ["192.0.2.14", "192.0.2.15"].map((address) => ({
        address: ip(address),
        vips: [ip("203.0.113.200")],
      })),
    },
    says: [
      'Cannot take packets by dscp to 192.0.2.15: this host does not have the address; add it to an interface, or correct agent.dscp ("carom backend-setup" prints it)',
    ],
  },
  {
    name: "the VIP on lo already",
    host: {
      addresses: [
        { ifindex: 1, address: ip("203.0.113.200"), prefixLength: 32, scope: "global", flags: [] },
      ],
    },
    says: [],
  },
];

for (const { name, host: facts, config: change, says } of rows) {
  test(`agentProblems(): ${name}`, () => {
    assert.deepEqual(agentProblems({ ...config, ...change }, host(facts)), says);
  });
}
