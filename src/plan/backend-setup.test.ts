/** What is printed for each forwarding, and that the agent's file is one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAgentConfig, parseDirectorConfig } from "../config/parse.ts";
import { vip } from "../model/service-fixture.ts";
import { formatIp, ip } from "../net/address.ts";
import { wholePrefix } from "../net/prefix.ts";
import { backendSetup, backendUses, isNamed } from "./backend-setup.ts";

const config = parseDirectorConfig(
  `
director: { interfaces: [eth0], tunnels: { fouPort: 1, fouPortIpv6: 2, guePort: 3 } }
pools:
  - name: web
    forwarding: ipip
    backends:
      - { name: ipip4, address: 198.51.100.11 }
      - { name: ipip6, address: "2001:db8:1::11" }
      - { name: gre4, address: 198.51.100.12, forwarding: gre }
      - { name: gre6, address: "2001:db8:1::12", forwarding: gre }
      - { name: fou4, address: 198.51.100.13, forwarding: fou }
      - { name: fou6, address: "2001:db8:1::13", forwarding: fou }
      - { name: gue4, address: 198.51.100.14, forwarding: gue }
      - { name: gue6, address: "2001:db8:1::14", forwarding: gue }
      - { name: near, address: 198.51.100.15, forwarding: l2 }
  - name: dns
    forwarding: dscp
    backends: [{ name: a, address: 198.51.100.15 }, { name: b, address: 198.51.100.16 }]
  - name: six
    forwarding: dscp
    backends: [{ name: a, address: "2001:db8:1::16" }]
services:
  - { name: web, vips: [192.0.2.10, "2001:db8::10", 203.0.113.0/24], protocol: tcp, ports: [80], pool: web }
  - { name: dns, vips: [192.0.2.53, 192.0.2.54], protocol: udp, ports: [53], pool: dns }
  - { name: dns-tcp, vips: [192.0.2.54, 192.0.2.55], protocol: tcp, ports: [53], pool: dns }
  - { name: six, vips: ["2001:db8::53"], protocol: udp, ports: [53], pool: six }
`,
  "director.yaml",
  () => ({ kind: "refused", reason: "not read here" }),
);
const uses = backendUses(config);
const directors = [ip("198.51.100.2"), ip("2001:db8:1::2"), ip("198.51.100.3")];

function textFor(name: string, known = directors): string {
  const use = uses.find((each) => isNamed(each, name));
  assert.ok(use, name);
  return backendSetup(config, use, { directors: known, interface: "ens3" });
}

/** The commands, without comments and empty lines. */
const commandsFor = (name: string): readonly string[] =>
  (textFor(name).split("\n# 2.")[1] ?? "")
    .split("\n")
    .slice(1)
    .filter((line) => line !== "" && !line.startsWith("#"));

const WEB = [
  "sysctl -w net.ipv4.conf.ens3.arp_ignore=1 net.ipv4.conf.ens3.arp_announce=2",
  "ip addr add 192.0.2.10/32 dev lo",
  "ip -6 addr add 2001:db8::10/128 dev lo nodad",
  "ip route add local 203.0.113.0/24 dev lo",
];
const device = (name: string, type: string, rest: string): readonly string[] => [
  `ip link add ${name} type ${type} ${rest}`,
  `ip link set ${name} up`,
  `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.${name}.rp_filter=0`,
];
const guard = (family: "ip" | "ip6", match: string): readonly string[] => {
  const from = family === "ip" ? "198.51.100.2, 198.51.100.3" : "2001:db8:1::2";
  return [
    `nft add table ${family} carom`,
    `nft 'add chain ${family} carom directors { type filter hook prerouting priority raw; }'`,
    `nft 'add rule ${family} carom directors ${family} saddr != { ${from} } ${match} drop'`,
  ];
};
const ipipAndSit = (address: string): readonly string[] => [
  "modprobe ipip",
  ...device("carom-ipip", "ipip", `local ${address} remote any`),
  "modprobe sit",
  ...device("carom-sit", "sit", `local ${address} remote any`),
];
const ip6 = (address: string): readonly string[] => [
  "modprobe ip6_tunnel",
  ...device("carom-ip6", "ip6tnl", `local ${address} remote :: mode any`),
];

const rows: Readonly<Record<string, readonly string[]>> = {
  "web/ipip4": [...WEB, ...ipipAndSit("198.51.100.11"), ...guard("ip", "ip protocol { 4, 41 }")],
  "web/ipip6": [...WEB, ...ip6("2001:db8:1::11"), ...guard("ip6", "ip6 nexthdr { 4, 41 }")],
  "web/gre4": [
    ...WEB,
    "modprobe ip_gre",
    ...device("carom-gre", "gre", "local 198.51.100.12 remote any"),
    ...guard("ip", "ip protocol 47"),
  ],
  "web/gre6": [
    ...WEB,
    "modprobe ip6_gre",
    ...device("carom-gre", "ip6gre", "local 2001:db8:1::12 remote ::"),
    ...guard("ip6", "ip6 nexthdr 47"),
  ],
  "web/fou4": [
    ...WEB,
    ...ipipAndSit("198.51.100.13"),
    "modprobe fou",
    "ip fou add port 1 ipproto 4",
    "ip fou add port 2 ipproto 41",
    ...guard("ip", "udp dport { 1, 2 }"),
  ],
  "web/fou6": [
    ...WEB,
    ...ip6("2001:db8:1::13"),
    "modprobe fou6",
    "ip fou add port 1 ipproto 4 -6",
    "ip fou add port 2 ipproto 41 -6",
    ...guard("ip6", "udp dport { 1, 2 }"),
  ],
  "web/gue4": [
    ...WEB,
    ...ipipAndSit("198.51.100.14"),
    "modprobe fou",
    "ip fou add port 3 gue",
    ...guard("ip", "udp dport { 3 }"),
  ],
  "web/gue6": [
    ...WEB,
    ...ip6("2001:db8:1::14"),
    "modprobe fou6",
    "ip fou add port 3 gue -6",
    ...guard("ip6", "udp dport { 3 }"),
  ],
  "dns/b": [
    WEB[0] ?? "",
    "ip addr add 192.0.2.53/32 dev lo",
    "ip addr add 192.0.2.54/32 dev lo",
    "ip addr add 192.0.2.55/32 dev lo",
    "nft add table ip carom",
    "nft 'add chain ip carom restore { type filter hook prerouting priority raw; }'",
    ...["192.0.2.53", "192.0.2.54", "192.0.2.55"].map(
      (vip, index) =>
        `nft add rule ip carom restore ip daddr 198.51.100.16 ip dscp ${index + 1} ip daddr set ${vip} ip dscp set 0`,
    ),
  ],
  "six/a": [
    WEB[0] ?? "",
    "ip -6 addr add 2001:db8::53/128 dev lo nodad",
    "nft add table ip6 carom",
    "nft 'add chain ip6 carom restore { type filter hook prerouting priority raw; }'",
    "nft add rule ip6 carom restore ip6 daddr 2001:db8:1::16 ip6 dscp 1 ip6 daddr set 2001:db8::53 ip6 dscp set 0",
  ],
};
for (const [name, commands] of Object.entries(rows)) {
  test(`backendSetup() of ${name} by native devices`, () => {
    assert.deepEqual(commandsFor(name), commands);
  });
}

test("backendSetup() gives a file that an agent takes, whatever the forwarding", () => {
  for (const use of uses) {
    const text = backendSetup(config, use, { directors, interface: "ens3" });
    const [, file = ""] = /(agent:\n[^#]*)\n\n#/.exec(text) ?? [];
    const agent = parseAgentConfig(file, "agent.yaml");
    assert.deepEqual(agent.vips, use.vips);
    assert.deepEqual(
      agent.directors,
      directors.filter(({ family }) => family === use.address.family).map(wholePrefix),
    );
    assert.deepEqual(agent.tunnels, { fouPort: 1, fouPortIpv6: 2, guePort: 3 });
    assert.deepEqual(
      agent.dscp,
      use.codePoints.length === 0 ? [] : [{ address: use.address, vips: use.codePoints }],
    );
  }
});

test("one machine in two pools is set up once, for both", () => {
  const text = textFor("198.51.100.15");
  assert.match(text, /^# web\/near, dns\/a at 198\.51\.100\.15, forwarded to by l2 and dscp$/m);
  assert.match(text, /vips: \[192\.0\.2\.10, "2001:db8::10", 203\.0\.113\.0\/24, 192\.0\.2\.53/);
  assert.match(text, /never|DNAT/);
});

test("outer sources stand for the directors", () => {
  const [use] = uses;
  assert.ok(use);
  const other = { ...config, outerSources: [vip("10.0.0.0/8")] };
  const text = backendSetup(other, use, { directors, interface: "eth0" });
  assert.match(text, /directors: \[10\.0\.0\.0\/8\]/);
  assert.match(text, /saddr != \{ 10\.0\.0\.0\/8 \}/);
});

test("directors that nobody named stand out", () => {
  const text = textFor("web/gue4", []);
  assert.match(text, /directors: \[ADDRESS-OF-EACH-DIRECTOR\]/);
  assert.match(text, /saddr != \{ ADDRESS-OF-EACH-DIRECTOR \}/);
});

test("backendUses() has every address once, in the order of the file", () => {
  const texts = uses.map(({ address }) => formatIp(address));
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(texts[0], "198.51.100.11");
});
