/** What `carom backend-setup` prints is run, and serves: `dscp` without an agent, by nftables. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before, test } from "node:test";
import {
  BACKEND,
  BACKEND_6,
  carom,
  makeBackend,
  readdressed,
  Server,
  sh,
  VIP,
  VIP_6,
} from "../daemon/agent-fixture.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { formatIp } from "../net/address.ts";

const FILE = "/run/director.yaml";
const options = { skip, timeout: 60_000 };

before(makeBackend);

for (const [vip, backend] of [
  [VIP, BACKEND],
  [VIP_6, BACKEND_6],
] as const) {
  test(`the commands for dscp over IPv${vip.family} make a backend`, options, async () => {
    writeFileSync(
      FILE,
      `director: { interfaces: [eth0] }
pools: [{ name: web, forwarding: dscp, backends: [{ name: a, address: "${formatIp(backend)}" }] }]
services: [{ name: web, vips: ["${formatIp(vip)}"], protocol: udp, ports: [5353], pool: web }]
`,
    );
    const { code, stdout, stderr } = carom(["backend-setup", FILE, "web/a"]);
    assert.equal(stderr, "");
    assert.equal(code, 0);
    const [, commands = ""] = stdout.split(/# 2\..*\n/);
    sh(commands);
    using server = await Server.open(vip);
    server.wire.send(readdressed("by a code point", vip.family));
    await server.hears("by a code point");
  });
}

test("backend-setup refuses a file with mistakes, and a backend that is not there", options, () => {
  writeFileSync(FILE, "director: { interfaces: [eth0] }\npolls: []\n");
  const wrong = carom(["backend-setup", FILE]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^\/run\/director\.yaml:2:1: polls: Unknown key/);
  writeFileSync(
    FILE,
    `director: { interfaces: [eth0] }
pools: [{ name: web, backends: [{ name: a, address: 198.51.100.11 }] }]
services: [{ name: web, vips: [192.0.2.10], protocol: tcp, ports: [80], pool: web }]
`,
  );
  const missing = carom(["backend-setup", FILE, "web/b"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /No backend of .* is web\/b; it has web\/a/);
});
