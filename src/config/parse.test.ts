/** Good files and what becomes of them, and what no text may do. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { type AgentConfig, defaultTunnels, type DirectorConfig } from "../model/model.ts";
import { service, vip } from "../model/service-fixture.ts";
import { formatIp, ip } from "../net/address.ts";
import { formatPrefix, wholePrefix } from "../net/prefix.ts";
import { checkText, parseAgentConfig, parseDirectorConfig } from "./parse.ts";
import type { SecretReading } from "./secret.ts";

const noSecret = (): SecretReading => ({ kind: "refused", reason: "not read here" });
const example = (name: string): string =>
  readFileSync(new URL(`../../examples/${name}`, import.meta.url), "utf8");

const SMALL: DirectorConfig = {
  instance: "main",
  interfaces: ["eth0"],
  xdpMode: "auto",
  hashKey: null,
  tunnels: defaultTunnels,
  outerSources: [],
  vlanTags: "auto",
  pools: [
    {
      name: "web",
      backends: [{ name: "a", address: ip("198.51.100.11"), weight: 10, forwarding: "l2" }],
    },
  ],
  services: [service(["192.0.2.10"])],
};

test("parseDirectorConfig() fills in the defaults", () => {
  const text = `
director: { interfaces: [eth0] }
pools: [{ name: web, backends: [{ name: a, address: 198.51.100.11 }] }]
services: [{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }]
`;
  assert.deepEqual(parseDirectorConfig(text, "f", noSecret), SMALL);
});

test("parseDirectorConfig() takes every key it has", () => {
  const text = `
director: { instance: edge-1, interfaces: [eth0, bond0.7], xdpMode: generic, hashKeyFile: h.key, tunnels: { fouPort: 1, fouPortIpv6: 2, guePort: 3, udpChecksum: true }, outerSources: [10.0.0.0/8, "2001:db8::/96"], vlanTags: 2 }
pools:
  - name: web
    forwarding: ipip
    backends:
      - { name: a, address: 198.51.100.11, weight: 65535 }
      - { name: b, address: "2001:db8:1::12", weight: 1, forwarding: gue }
services:
  - { name: web, vips: [192.0.2.10, "2001:DB8:2::/48"], protocol: udp, ports: [65535, 1, 8000-8999], hashKey: client, pool: web }
  - { name: all, vips: [192.0.2.0/24], protocol: any, ports: all, pool: web }
`;
  const files: string[] = [];
  const key = Uint8Array.from({ length: 32 }, (_, index) => index);
  const config = parseDirectorConfig(text, "/etc/carom/director.yaml", (file) => {
    files.push(file);
    return { kind: "read", bytes: key };
  });
  assert.deepEqual(files, ["/etc/carom/h.key"]);
  assert.deepEqual(config, {
    instance: "edge-1",
    interfaces: ["eth0", "bond0.7"],
    xdpMode: "generic",
    hashKey: key,
    tunnels: { fouPort: 1, fouPortIpv6: 2, guePort: 3, udpChecksum: true },
    outerSources: [vip("10.0.0.0/8"), vip("2001:db8::/96")],
    vlanTags: 2,
    pools: [
      {
        name: "web",
        backends: [
          { name: "a", address: ip("198.51.100.11"), weight: 65_535, forwarding: "ipip" },
          { name: "b", address: ip("2001:db8:1::12"), weight: 1, forwarding: "gue" },
        ],
      },
    ],
    services: [
      {
        name: "web",
        vips: [vip("192.0.2.10"), vip("2001:db8:2::/48")],
        protocol: "udp",
        ports: [
          { first: 65_535, last: 65_535 },
          { first: 1, last: 1 },
          { first: 8000, last: 8999 },
        ],
        hashKey: "client",
        pool: "web",
      },
      {
        name: "all",
        vips: [vip("192.0.2.0/24")],
        protocol: "any",
        ports: "all",
        hashKey: "five-tuple",
        pool: "web",
      },
    ],
  });
});

test("parseDirectorConfig() needs neither pools nor services", () => {
  const config = parseDirectorConfig("director: { interfaces: [eth0] }", "f", noSecret);
  assert.deepEqual(config, { ...SMALL, pools: [], services: [] });
});

test("parseAgentConfig() fills in the defaults", () => {
  const text = 'agent: { interfaces: [eth0], vips: ["2001:db8::10"], directors: [198.51.100.2] }';
  const expected: AgentConfig = {
    instance: "main",
    interfaces: ["eth0"],
    mode: "auto",
    vips: [vip("2001:db8::10")],
    directors: [vip("198.51.100.2")],
    tunnels: { fouPort: 5555, fouPortIpv6: 5556, guePort: 6080 },
    dscp: [],
    vlanTags: "auto",
  };
  assert.deepEqual(parseAgentConfig(text, "f"), expected);
});

test("parseDirectorConfig() of JSON, of a byte order mark and of CRLF is the same", () => {
  const yaml = directorText(SMALL);
  const json = JSON.stringify(JSON.parse(jsonText(SMALL)), null, 2);
  for (const text of [yaml, json, `\uFEFF${yaml}`, yaml.replaceAll("\n", "\r\n")]) {
    assert.deepEqual(parseDirectorConfig(text, "f", noSecret), SMALL);
  }
});

test("the examples parse", () => {
  const director = parseDirectorConfig(example("director.yaml"), "director.yaml", noSecret);
  assert.deepEqual(
    director.services.map(({ name, pool }) => `${name} ${pool}`),
    ["web web", "dns-udp dns", "dns-tcp dns"],
  );
  const agent = parseAgentConfig(example("agent.yaml"), "agent.yaml");
  assert.deepEqual(agent.vips, director.services[0]?.vips);
});

test("parse*Config() of the other kind of file is one issue", () => {
  assert.throws(() => parseDirectorConfig(example("agent.yaml"), "f", noSecret), {
    name: "ConfigError",
    message: "f:4:1: agent: This is an agent's file; a director's has director",
  });
  assert.throws(() => parseAgentConfig(example("director.yaml"), "f"), {
    name: "ConfigError",
    message: "f:4:1: director: This is a director's file; an agent's has agent",
  });
});

test("parseDirectorConfig() of a written configuration is that configuration", () => {
  fc.assert(
    fc.property(directorConfigs, (config) => {
      assert.deepEqual(parseDirectorConfig(directorText(config), "f", noSecret), config);
    }),
    { numRuns: 60 },
  );
});

test("checkText() of a damaged example returns issues inside the text and throws nothing", () => {
  const texts = [example("director.yaml"), example("agent.yaml")];
  const pieces = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "\n",
    "  ",
    "\t",
    "&a ",
    "*a",
    "<<: ",
    "'",
    '"',
  ];
  const more = [
    "#",
    "|",
    ">",
    "!!int ",
    "%",
    "---\n",
    "null",
    "0",
    "-1",
    "1e99",
    "\0",
    "\u{1F3B1}",
  ];
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.nat(12),
    insert: fc.oneof(fc.constantFrom(...pieces, ...more), fc.string({ maxLength: 6 })),
  });
  fc.assert(
    fc.property(fc.constantFrom(...texts), fc.array(edit, { maxLength: 6 }), (text, edits) => {
      let damaged = text;
      for (const { at, remove, insert } of edits) {
        const start = at % (damaged.length + 1);
        damaged = damaged.slice(0, start) + insert + damaged.slice(start + remove);
      }
      const lineCount = damaged.split("\n").length;
      for (const { line, column, message } of checkText(damaged, "f", noSecret)) {
        assert.ok(line >= 1 && line <= lineCount && column >= 1, `${line}:${column}`);
        assert.match(message, /^[^\n]+$/);
      }
    }),
    { numRuns: 1500 },
  );
});

test("checkText() of random text throws nothing", () => {
  const texts = fc.string({ unit: "binary", maxLength: 200 });
  fc.assert(fc.property(texts, (text) => checkText(text, "f", noSecret).length > 0));
});

test("checkText() says so when there are more mistakes than it can list", () => {
  const text = `pools: [{ name: web, backends: [${"{ a: 1, weight: 0 },".repeat(60_000)}] }]`;
  const issues = checkText(text, "f", noSecret);
  assert.equal(
    issues.find(({ path }) => path === "")?.message,
    "Too many mistakes to list; of each list only the first 50 items were checked",
  );
  assert.equal(issues.filter(({ path }) => path.endsWith(".weight")).length, 50);
});

test("checkText() refuses more backends and endpoints than there can be", () => {
  const backends = Array.from(
    { length: 65_536 },
    (_, index) => `{name: b${index}, address: "2001:db8::${index.toString(16)}"}`,
  );
  const ports = Array.from({ length: 60_000 }, (_, index) => index + 1);
  const vips = Array.from({ length: 18 }, (_, index) => `192.0.2.${index + 1}`);
  const text = `director: { interfaces: [eth0] }
pools: [{ name: web, backends: [${backends.join()}] }]
services: [{ name: web, vips: [${vips.join()}], protocol: tcp, ports: [${ports.join()}], pool: web }]
`;
  assert.deepEqual(
    checkText(text, "f", noSecret).map(({ path, message }) => `${path}: ${message}`),
    [
      "pools[0].backends: Expected a list of 1 to 65535 backends; got a list of 65536",
      "services[0]: Too much for one director: up to here 1080000 VIPs times ports and 1 pool with 0 backends need 521 MiB of tables, at most 256; divide the services between several instances",
    ],
  );
});

const names = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/);
const anyVip = fc.nat(0xffff).map((low) => ip(`192.0.${low >> 8}.${low & 255}`));
const backendAddress = fc.nat(0xffff).map((low) => ip(`2001:db8::${low.toString(16)}`));
const forwarding = fc.constantFrom("l2" as const, "ipip" as const);
/** Without this some records have no prototype, which is a difference to `deepEqual`. */
const plain = { noNullPrototype: true };
const byName = { minLength: 1, maxLength: 4, selector: ({ name }: { name: string }) => name };

const pools = fc.uniqueArray(
  fc.record(
    {
      name: names,
      backends: fc
        .uniqueArray(
          fc.record(
            {
              name: names,
              address: backendAddress,
              weight: fc.integer({ min: 1_000, max: 65_535 }),
              forwarding,
            },
            plain,
          ),
          byName,
        )
        .filter(
          (list) => new Set(list.map(({ address }) => formatIp(address))).size === list.length,
        ),
    },
    plain,
  ),
  byName,
);

const directorConfigs = pools.chain((list) =>
  fc
    .record(
      {
        instance: fc.stringMatching(/^[a-z0-9-]{1,32}$/),
        interfaces: fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9._-]{0,14}$/), { minLength: 1 }),
        xdpMode: fc.constantFrom("auto" as const, "native" as const, "generic" as const),
        vips: fc.uniqueArray(anyVip, { minLength: 1, maxLength: 3, selector: formatIp }),
        protocol: fc.constantFrom("tcp" as const, "udp" as const),
      },
      plain,
    )
    .map(
      ({ vips, protocol, ...director }): DirectorConfig => ({
        ...director,
        hashKey: null,
        tunnels: defaultTunnels,
        outerSources: [],
        vlanTags: "auto",
        pools: list,
        services: list.map(({ name }, index) => ({
          name,
          vips: vips.map(wholePrefix),
          protocol,
          ports: [index + 1, index + 100].map((port) => ({ first: port, last: port })),
          hashKey: "five-tuple",
          pool: name,
        })),
      }),
    ),
);

function jsonText({ instance, interfaces, xdpMode, pools, services }: DirectorConfig): string {
  return JSON.stringify({
    director: { instance, interfaces, xdpMode },
    pools: pools.map(({ name, backends }) => ({
      name,
      backends: backends.map((backend) => ({ ...backend, address: formatIp(backend.address) })),
    })),
    services: services.map((service) => ({
      ...service,
      vips: service.vips.map(formatPrefix),
      ports: service.ports === "all" ? "all" : service.ports.map(({ first }) => first),
    })),
  });
}

/** Flow YAML, a line per top-level key. */
function directorText(config: DirectorConfig): string {
  const sections = Object.entries(JSON.parse(jsonText(config)) as Record<string, unknown>);
  return sections.map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`).join("");
}
