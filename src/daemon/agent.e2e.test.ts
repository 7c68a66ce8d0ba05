/** The agent as an operator runs it: the command, a real interface, packets, kills and restarts. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { text } from "node:stream/consumers";
import { afterEach, before, test } from "node:test";
import { serveSocket } from "../api/serve.ts";
import { startingApi } from "../api/starting.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import type { PacketSocket } from "../kernel/packet-socket.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctl.ts";
import { formatIp, ip, type IpAddress } from "../net/address.ts";
import { eth } from "../packet/build.ts";
import {
  AgentProcess,
  BACKEND,
  BACKEND_6,
  carom,
  CONFIG,
  configText,
  DIRECTOR,
  DIRECTOR_6,
  DIRECTOR_MAC,
  encapsulated,
  ifindexOf,
  cleanUp,
  linkInfo,
  makeBackend,
  makeEth0,
  PINS,
  readdressed,
  Server,
  sh,
  snapshot,
  SOCKET,
  STATE,
  status,
  STRANGER,
  VIP,
  VIP_6,
} from "./agent-fixture.ts";

const options = { skip, timeout: 60_000 };

before(makeBackend);
afterEach(cleanUp);

const sysctl = (name: string, setting: string): string | undefined =>
  readSysctl(["net", "ipv4", "conf", name, setting]);

test(
  "an agent serves what directors send, counts strangers, and restores the host",
  options,
  async () => {
    writeSysctl(["net", "ipv4", "conf", "eth0", "rp_filter"], "1");
    const was = snapshot();
    const agent = await AgentProcess.start();
    assert.deepEqual(
      ["arp_ignore", "arp_announce", "rp_filter"].map((setting) => sysctl("eth0", setting)),
      ["1", "2", "2"],
    );
    assert.match(
      sh("ip -o addr show lo"),
      /203\.0\.113\.200\/32[\s\S]*2001:db8:f::200\/128.* nodad/,
    );

    for (const vip of [VIP, VIP_6]) {
      using server = await Server.open(vip);
      server.wire.send(encapsulated("from a stranger", STRANGER, vip));
      for (const director of [DIRECTOR, DIRECTOR_6]) {
        const text = `${formatIp(vip)} by ${formatIp(director)}`;
        server.wire.send(encapsulated(text, director, vip));
        await server.hears(text);
      }
      assert.equal(server.received.length, 2);
    }
    const { pid, instance, interfaces, vips, directors, reasons } = await status();
    assert.deepEqual(
      { pid, instance, interfaces, vips, directors },
      {
        pid: agent.pid,
        instance: "main",
        interfaces: [{ name: "eth0", mode: "native", fallback: null, without: [] }],
        vips: ["203.0.113.200", "2001:db8:f::200"],
        directors: ["192.0.2.2", "2001:db8:2::2"],
      },
    );
    assert.equal(reasons["decapsulated"]?.packets, 4);
    assert.match(
      carom(["status"]).stdout,
      /^agent "main", pid \d+, on eth0 \((native|generic)\)\n\nVIP +DIRECTOR\n203\.0\.113\.200 +192\.0\.2\.2\n[^]*\n +4 +\d+  decapsulated /,
    );
    assert.deepEqual(Object.keys(JSON.parse(carom(["status", "--json"]).stdout)), ["agent"]);
    assert.equal(reasons["stranger"]?.packets, 2);
    const stranger = [VIP, VIP_6].map(
      (vip) => encapsulated("from a stranger", STRANGER, vip).length,
    );
    assert.equal(reasons["stranger"].bytes, (stranger[0] ?? 0) + (stranger[1] ?? 0));

    assert.equal(await agent.end("SIGTERM"), 0);
    assert.equal(snapshot(), was);
    // The host never answers ARP for a VIP, and has the VIP whenever packets for it are let in.
    const order = agent.lines.map(({ msg }) => msg);
    assert.equal(
      order.filter((msg, index) => msg !== order[index - 1]).join(" > "),
      "sysctl set > vip added > attached > agent serving > stopping > undone > vip removed > sysctl restored > agent stopped, host restored",
    );
    writeSysctl(["net", "ipv4", "conf", "eth0", "rp_filter"], "0");
  },
);

test(
  "a host with an agent answers ARP and ND for its own addresses, not for VIPs",
  options,
  async () => {
    sh("ip addr add 203.0.113.200/32 dev lo");
    using server = await Server.open();
    server.wire.send(whoHas(VIP));
    assert.deepEqual(
      (await answerFor(server.wire, VIP)).map(formatIp),
      ["203.0.113.200"],
      "without",
    );
    const agent = await AgentProcess.start();
    for (const [vip, own] of [
      [VIP, BACKEND],
      [VIP_6, BACKEND_6],
    ] as const) {
      // Asked in this order, answered in this order: with the second answer the first is not to come.
      for (const target of [vip, own]) server.wire.send(whoHas(target));
      const answered = await answerFor(server.wire, own);
      assert.deepEqual(answered.map(formatIp), [formatIp(own)]);
    }
    await agent.end("SIGTERM");
    sh("ip addr del 203.0.113.200/32 dev lo");
  },
);

test(
  "an agent killed with SIGKILL serves on, a new one takes over without a gap",
  options,
  async () => {
    const was = snapshot();
    const first = await AgentProcess.start();
    const before = linkInfo();
    using server = await Server.open();
    let sent = 0;
    const timer = setInterval(() => server.wire.send(encapsulated(`datagram ${sent++}`)), 1);
    await first.end("SIGKILL");
    await server.hears(`datagram ${sent + 50}`);
    assert.equal(existsSync(SOCKET), true, "nobody removed the socket");

    const second = await AgentProcess.start();
    await server.hears(`datagram ${sent + 50}`);
    clearInterval(timer);
    server.wire.send(encapsulated("last"));
    await server.hears("last");
    assert.equal(server.received.length, sent + 1);
    const { id, programId } = linkInfo();
    assert.equal(id, before.id);
    assert.notEqual(programId, before.programId);
    assert.deepEqual(readdirSync(PINS).toSorted(), ["2", `link_${ifindexOf("eth0")}`]);
    assert.equal(second.lines.find(({ msg }) => msg === "attached")?.["takenOver"], true);

    const busy = carom(["teardown"]);
    assert.equal(busy.code, 1);
    assert.match(
      busy.stderr,
      new RegExp(
        `^carom: Cannot tear down "main": its agent runs \\(pid ${second.pid}\\); stop it first`,
      ),
    );

    await second.end("SIGKILL");
    const down = carom(["teardown"]);
    assert.deepEqual([down.code, down.stderr], [0, ""]);
    assert.deepEqual(down.stdout.split("\n"), [
      "detached the program from eth0",
      `removed ${PINS}/2`,
      `removed ${PINS}`,
      "vip removed: 2001:db8:f::200/128 on lo",
      "vip removed: 203.0.113.200/32 on lo",
      "sysctl restored: net.ipv4.conf.eth0.arp_announce from 2 to 0",
      "sysctl restored: net.ipv4.conf.eth0.arp_ignore from 1 to 0",
      `removed ${STATE}`,
      `removed ${SOCKET}`,
      "",
    ]);
    assert.equal(snapshot(), was);
    const again = carom(["teardown"]);
    assert.deepEqual(again, {
      code: 0,
      stdout: 'Nothing of instance "main" is here\n',
      stderr: "",
    });
  },
);

test(
  "an agent with --keep leaves everything for the next, which restores it",
  options,
  async () => {
    const was = snapshot();
    const first = await AgentProcess.start(configText(), ["--keep"]);
    const { id } = linkInfo();
    assert.equal(await first.end("SIGINT"), 0);
    assert.match(first.lines.at(-1)?.msg ?? "", /still serving/);
    using server = await Server.open();
    server.wire.send(encapsulated("kept"));
    await server.hears("kept");

    // One VIP and one director less: the VIP leaves lo at once.
    const second = await AgentProcess.start(
      "agent: { interfaces: [eth0], vips: [203.0.113.200], directors: [192.0.2.2] }\n",
    );
    assert.equal(linkInfo().id, id);
    assert.doesNotMatch(sh("ip -o addr show lo"), /2001:db8:f::200/);
    await second.end("SIGTERM");
    assert.equal(snapshot(), was);
  },
);

test(
  "an agent leaves a VIP that was on lo before, and what somebody changed meanwhile",
  options,
  async () => {
    sh("ip addr add 203.0.113.200/32 dev lo");
    const agent = await AgentProcess.start();
    writeSysctl(["net", "ipv4", "conf", "eth0", "arp_ignore"], "2");
    assert.equal(await agent.end("SIGTERM"), 0);
    assert.equal(sysctl("eth0", "arp_ignore"), "2");
    const left = agent.lines.find(({ msg }) => msg === "left alone");
    assert.equal(left?.level, "warn");
    assert.equal(
      left["what"],
      "net.ipv4.conf.eth0.arp_ignore is 2, neither the 1 set here nor the 0 from before",
    );
    assert.match(sh("ip -o addr show lo"), /203\.0\.113\.200\/32/);
    assert.doesNotMatch(sh("ip -o addr show lo"), /2001:db8:f::200/);
    writeSysctl(["net", "ipv4", "conf", "eth0", "arp_ignore"], "0");
    sh("ip addr del 203.0.113.200/32 dev lo");
  },
);

test(
  "an agent puts back a VIP somebody took, and attaches to an interface made anew",
  options,
  async () => {
    const agent = await AgentProcess.start();
    const from = agent.lines.length;
    sh("ip addr del 203.0.113.200/32 dev lo");
    const added = await agent.says(({ msg }) => msg === "vip added", from);
    assert.deepEqual([added.level, added["what"]], ["warn", "203.0.113.200/32 on lo"]);

    sh("ip link del eth0");
    await agent.says(({ msg }) => msg === "interface is gone, packets do not arrive", from);
    assert.deepEqual((await status()).interfaces, []);
    makeEth0();
    await agent.says(({ msg }) => msg === "attached", from);
    assert.equal(sysctl("eth0", "arp_ignore"), "1");

    // Gone and back before anybody looked, under the same index.
    const index = ifindexOf("eth0");
    const later = agent.lines.length;
    sh("ip link del eth0");
    makeEth0(index);
    await agent.says(({ msg }) => msg === "attached", later);
    assert.equal(sysctl("eth0", "arp_ignore"), "1");
    using server = await Server.open();
    server.wire.send(encapsulated("anew"));
    await server.hears("anew");
    assert.equal(await agent.end("SIGTERM"), 0);
    assert.equal(existsSync(STATE), false);
    assert.equal(sysctl("eth0", "arp_ignore"), "0");
  },
);

test("an agent falls back to TC and says why", options, async () => {
  sh("ip link set eth0p mtu 9000; ip link set eth0 mtu 9000");
  const agent = await AgentProcess.start();
  const warning = agent.lines.find(({ msg }) => msg === "TC instead of native XDP, slower");
  assert.equal(warning?.level, "warn");
  assert.match(String(warning["why"]), /ERANGE, its MTU is too large for native XDP/);
  assert.deepEqual((await status()).interfaces, [
    { name: "eth0", mode: "tc", fallback: warning["why"], without: [] },
  ]);
  using server = await Server.open();
  server.wire.send(encapsulated("by TC"));
  await server.hears("by TC");
  // Killed, it serves on; the next takes over what runs.
  const { id } = linkInfo();
  await agent.end("SIGKILL");
  server.wire.send(encapsulated("without a daemon"));
  await server.hears("without a daemon");
  const second = await AgentProcess.start();
  assert.equal(linkInfo().id, id);
  assert.match((await status()).interfaces[0]?.fallback ?? "", /^taken over as it was; /);
  await second.end("SIGTERM");

  // Told to be native it does not start, and what it did until then is undone.
  const was = snapshot();
  const { code, stderr } = carom(["agent", "-c", CONFIG], configText(", mode: native"));
  assert.equal(code, 1);
  assert.match(stderr, /^carom: Cannot attach native XDP to eth0: ERANGE[^\n]+\n$/);
  assert.equal(snapshot(), was);
  sh("ip link set eth0 mtu 1500; ip link set eth0p mtu 1500");
});

test("a start that fails leaves the run before serving", options, async () => {
  sh(
    "ip link add eth1 type veth peer name eth1p; ip link set eth1p up mtu 9000; ip link set eth1 up mtu 9000",
  );
  const was = snapshot();
  await (await AgentProcess.start()).end("SIGKILL");
  const { id } = linkInfo();
  using server = await Server.open();
  for (const interfaces of ["[eth1, eth0]", "[eth0, eth1]"]) {
    const config = configText(", mode: native").replace("[eth0]", interfaces);
    const { code, stderr, stdout } = carom(["agent", "-c", CONFIG], config);
    assert.equal(code, 1);
    assert.match(stderr, /^carom: Cannot attach native XDP to eth1: ERANGE/);
    assert.match(stdout, /"start failed, the run before goes on serving"/);
    assert.equal(linkInfo().id, id);
    server.wire.send(encapsulated(interfaces));
    await server.hears(interfaces);
  }
  assert.equal(carom(["teardown"]).code, 0);
  assert.equal(snapshot(), was);
  assert.equal(sysctl("eth1", "arp_ignore"), "0");
  sh("ip link del eth1");
});

test("an agent told to use another mode attaches anew", options, async () => {
  const first = await AgentProcess.start(configText(", mode: generic"), ["--keep"]);
  assert.deepEqual((await status()).interfaces, [
    { name: "eth0", mode: "generic", fallback: null, without: [] },
  ]);
  const { id } = linkInfo();
  await first.end("SIGTERM");
  using server = await Server.open();
  for (const mode of ["native", "tc"]) {
    const next = await AgentProcess.start(configText(`, mode: ${mode}`), ["--keep"]);
    assert.deepEqual((await status()).interfaces, [
      { name: "eth0", mode, fallback: null, without: [] },
    ]);
    assert.notEqual(linkInfo().id, id);
    server.wire.send(encapsulated(mode));
    await server.hears(mode);
    await next.end("SIGTERM");
  }
});

for (const mode of ["native", "tc", "generic"]) {
  test(`an agent serves every tunnel, dscp and prefixes, ${mode}`, options, async () => {
    const was = snapshot();
    const config = configText(
      `, mode: ${mode}, dscp: [{ address: 192.0.2.14, vips: [203.0.113.200] }, { address: "2001:db8:2::14", vips: ["2001:db8:f::200"] }]`,
    ).replace("vips: [203.0.113.200, ", "vips: [203.0.113.200, 203.0.113.0/25, ");
    const agent = await AgentProcess.start(config);
    assert.match(sh("ip route show table local"), /^local 203\.0\.113\.0\/25 dev lo/m);
    for (const vip of [VIP, VIP_6, ip("203.0.113.77")]) {
      using server = await Server.open(vip);
      for (const director of [DIRECTOR, DIRECTOR_6]) {
        for (const kind of ["ipip", "gre", "fou", "gue"] as const) {
          const text = `${kind} by ${formatIp(director)}`;
          server.wire.send(encapsulated(text, director, vip, kind));
          await server.hears(text);
        }
      }
      if (vip === VIP || vip === VIP_6) {
        server.wire.send(readdressed("by a code point", vip.family));
        await server.hears("by a code point");
      }
    }
    const { reasons } = await status();
    assert.equal(reasons["decapsulated"]?.packets, 24);
    assert.equal(reasons["restored"]?.packets, 2);
    await agent.end("SIGTERM");
    assert.equal(snapshot(), was);
    assert.doesNotMatch(sh("ip route show table local"), /203\.0\.113/);
  });
}

/** Behind a VLAN tag. */
function tagged(frame: Uint8Array): Uint8Array {
  return Uint8Array.of(...frame.subarray(0, 12), 0x81, 0, 0, 100, ...frame.subarray(12));
}

test("an agent by TC looks behind a tag that is beside the frame", options, async () => {
  for (const vlanTags of [1, 0]) {
    const agent = await AgentProcess.start(configText(`, mode: tc, vlanTags: ${vlanTags}`));
    using server = await Server.open();
    // The kernel takes the tag out before programs see the frame, and has no device to give it to.
    server.wire.send(tagged(encapsulated("behind a tag")));
    server.wire.send(encapsulated("after"));
    await server.hears("after");
    const { decapsulated } = (await status()).reasons;
    const frames = [...(vlanTags === 1 ? ["behind a tag"] : []), "after"];
    const bytes = frames.reduce((sum, text) => sum + encapsulated(text).length, 0);
    assert.deepEqual(decapsulated, { packets: frames.length, bytes });
    await agent.end("SIGTERM");
  }
});

test("an agent runs with the capabilities it says it needs and no other", options, async () => {
  const was = snapshot();
  const granted = "-all,+bpf,+net_admin,+perfmon";
  const agent = await AgentProcess.start(
    configText(),
    [],
    ["setpriv", "--bounding-set", granted, "--"],
  );
  using server = await Server.open();
  server.wire.send(encapsulated("unprivileged"));
  await server.hears("unprivileged");
  assert.equal(await agent.end("SIGTERM"), 0);
  assert.equal(snapshot(), was);
});

/** An ARP request, or a neighbour solicitation (RFC 4861 §4.3) with our MAC as an option. */
function whoHas(target: IpAddress): Uint8Array {
  if (target.family === 4) {
    const request = [0, 1, 0x08, 0, 6, 4, 0, 1, ...DIRECTOR_MAC, ...DIRECTOR.bytes];
    return eth(DIRECTOR_MAC, "ff:ff:ff:ff:ff:ff").raw(
      0x0806,
      Uint8Array.of(...request, ...new Uint8Array(6), ...target.bytes),
    );
  }
  const low = target.bytes.subarray(13);
  const hex = Buffer.from(low).toString("hex");
  const group = `ff02::1:ff${hex.slice(0, 2)}:${hex.slice(2)}`;
  const groupMac = Uint8Array.of(0x33, 0x33, 0xff, ...low);
  return eth(DIRECTOR_MAC, groupMac)
    .ipv6(DIRECTOR_6, group, { hopLimit: 255 })
    .icmpv6({ type: 135 }, Uint8Array.of(...target.bytes, 1, 1, ...DIRECTOR_MAC));
}

/** Every address answered for, until `own` is. */
function answerFor(wire: PacketSocket, own: IpAddress): Promise<IpAddress[]> {
  const answered: IpAddress[] = [];
  return new Promise((resolve) => {
    const look = (): void => {
      for (const { direction, bytes } of wire.receive()) {
        const type = (bytes[12] ?? 0) * 256 + (bytes[13] ?? 0);
        if (direction === "outgoing") continue;
        if (type === 0x0806 && bytes[21] === 2) {
          answered.push({ family: 4, bytes: bytes.slice(28, 32) });
        }
        if (type === 0x86dd && bytes[20] === 58 && bytes[54] === 136) {
          answered.push({ family: 6, bytes: bytes.slice(62, 78) });
        }
      }
      if (answered.some((address) => formatIp(address) === formatIp(own))) resolve(answered);
      else setTimeout(look, 5);
    };
    look();
  });
}

test("an agent sets a sysctl again that somebody put back", options, async () => {
  const agent = await AgentProcess.start();
  const from = agent.lines.length;
  writeSysctl(["net", "ipv4", "conf", "eth0", "arp_ignore"], "0");
  const { what } = await agent.says(({ msg }) => msg === "sysctl set", from);
  assert.equal(what, "net.ipv4.conf.eth0.arp_ignore from 0 to 1");
  assert.equal(sysctl("eth0", "arp_ignore"), "1");
  assert.equal(await agent.end("SIGTERM"), 0);
});

test("carom status of a daemon that is starting fails, and says so", options, async () => {
  const socket = await serveSocket(startingApi('Agent "main"', process.pid), SOCKET);
  try {
    const argv = [`${import.meta.dirname}/../cli/main.ts`, "status"];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "pipe"] });
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
    assert.equal(said, 'carom: Agent "main" is starting\n');
    assert.equal(code, 1);
  } finally {
    await socket.close();
  }
});
