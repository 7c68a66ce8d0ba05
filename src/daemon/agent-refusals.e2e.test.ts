/** What an agent says when it cannot start, and that it touched nothing. */
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import { skip, verdict } from "../kernel/kernel-fixture.ts";
import { attachXdp } from "../kernel/links.ts";
import { loadProgram } from "../kernel/programs.ts";
import {
  AgentProcess,
  carom,
  cleanUp,
  CONFIG,
  configText,
  ifindexOf,
  makeBackend,
  sh,
  snapshot,
} from "./agent-fixture.ts";

const options = { skip, timeout: 60_000 };
const XDP_PASS = 2;

before(makeBackend);
afterEach(cleanUp);

/** Runs the command in mounts of its own, after `script`. */
const inMounts = (script: string): readonly string[] =>
  "unshare --mount --propagation private -- sh -ec".split(" ").concat(`${script}; exec "$@"`, "sh");

const refusals: readonly {
  readonly name: string;
  /** Makes the host unfit, and fit again. */
  readonly host?: readonly [string, string];
  readonly config?: string;
  readonly prefix?: readonly string[];
  readonly says: RegExp;
  readonly code?: number;
}[] = [
  {
    name: "a kernel that is too old",
    prefix: ["setarch", "--uname-2.6", "--"],
    says: /^carom: Cannot run an agent: this needs kernel >= 6\.1, running 2\.6\.\S+\n$/,
  },
  {
    name: "missing capabilities",
    prefix: ["setpriv", "--bounding-set", "-all,+net_admin", "--"],
    says: /^carom: Cannot run an agent: missing CAP_BPF, CAP_PERFMON.*; run as root, .*\n$/,
  },
  {
    name: "no BPF file system",
    prefix: inMounts("umount /sys/fs/bpf"),
    says: /^carom: Cannot run an agent: no BPF file system is mounted at \/sys\/fs\/bpf; mount it with "mount -t bpf bpf \/sys\/fs\/bpf"\n$/,
  },
  {
    name: "no such interface",
    config: configText().replace("eth0", "eth7"),
    says: /^carom: Cannot attach to eth7: no such interface; this host has lo, [^\n]*eth0[^\n]*\n$/,
  },
  {
    name: "an interface that is down",
    host: ["ip link set eth0 down", "ip link set eth0 up; ip route add default via 192.0.2.1"],
    says: /^carom: Cannot attach to eth0: it is down; set it up with "ip link set eth0 up"\n$/,
  },
  {
    name: "a VIP on another interface",
    host: ["ip addr add 203.0.113.200/24 dev eth0p", "ip addr del 203.0.113.200/24 dev eth0p"],
    says: /^carom: Cannot serve VIP 203\.0\.113\.200: this host has the address on eth0p, .* remove it with "ip addr del 203\.0\.113\.200\/24 dev eth0p"\n$/,
  },
  {
    name: "a setting of all interfaces that undoes ours",
    host: [
      "sysctl -qw net.ipv4.conf.all.arp_ignore=3",
      "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
    ],
    says: /^carom: Cannot serve VIPs on eth0: net\.ipv4\.conf\.all\.arp_ignore is 3, .*\n$/,
  },
  {
    name: "everything at once",
    host: ["ip addr add 203.0.113.200/24 dev eth0p", "ip addr del 203.0.113.200/24 dev eth0p"],
    config: configText().replace("eth0", "eth7"),
    prefix: inMounts("umount /sys/fs/bpf"),
    says: /^carom: Cannot run an agent: no BPF .*\ncarom: Cannot attach to eth7: .*\ncarom: Cannot serve VIP .*\n$/,
  },
  {
    name: "a faulty configuration",
    config: "agent: { interfaces: [], vips: [203.0.113.200], directors: [192.0.2.2] }\n",
    says: /^\/run\/agent\.yaml:1:\d+: agent\.interfaces: /,
    code: 2,
  },
];

for (const { name, host, config, prefix, says, code = 1 } of refusals) {
  test(`an agent refuses ${name}, and touches nothing`, options, () => {
    if (host !== undefined) sh(host[0]);
    try {
      const was = snapshot();
      const result = carom(["agent", "--config", CONFIG], config, prefix);
      assert.match(result.stderr, says);
      assert.equal(result.stdout, "");
      assert.equal(result.code, code);
      assert.equal(snapshot(), was);
    } finally {
      if (host !== undefined) sh(host[1]);
    }
  });
}

test(
  "an agent refuses an interface with somebody else's XDP program, and names it",
  options,
  () => {
    using program = loadProgram(verdict(XDP_PASS, "xdp_other"), () => -1);
    using _link = attachXdp({ programFd: program.fd, ifindex: ifindexOf("eth0"), mode: "native" });
    const { id } = program.info();
    const was = snapshot();
    const { code, stderr } = carom(["agent", "--config", CONFIG]);
    assert.equal(
      stderr,
      `carom: Cannot attach to eth0: it already has a native XDP program (id ${id} "xdp_other"); stop what it belongs to, or remove it with "ip link set dev eth0 xdpdrv off"\n`,
    );
    assert.equal(code, 1);
    assert.equal(snapshot(), was);
  },
);

test(
  "an agent refuses to be the second of its instance, and names the first",
  options,
  async () => {
    const first = await AgentProcess.start();
    const was = snapshot();
    const { code, stderr } = carom(["agent", "--config", CONFIG]);
    assert.equal(
      stderr,
      `carom: Cannot run agent "main": it runs already (pid ${first.pid}); stop that one first, or give this one another instance name\n`,
    );
    assert.equal(code, 1);
    assert.equal(snapshot(), was);
    assert.equal(await first.end("SIGTERM"), 0);
  },
);
