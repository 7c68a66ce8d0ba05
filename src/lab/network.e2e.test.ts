/** The lab's network as built: who reaches whom, and that nothing of it outlives its process. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { test } from "node:test";
import { BpfAttribute, bpf, BpfCommand } from "../kernel/bpf-syscall.ts";
import { call, SystemError } from "../kernel/libc.ts";
import { attachXdp } from "../kernel/links.ts";
import { Netns } from "../kernel/netns.ts";
import type { Frame } from "../kernel/packet-socket.ts";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { pin } from "../kernel/pins.ts";
import { loadProgram } from "../kernel/programs.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import { formatIp } from "../net/address.ts";
import type { Network } from "./network.ts";
import { buildNetwork } from "./network.ts";
import type { LabNodeName } from "./topology.ts";
import { addressOf, interfaceOf, labNodes, labTopology } from "./topology.ts";
import { xdpPass } from "./xdp-pass.ts";

const skip = process.getuid?.() === 0 ? false : "needs root to create network namespaces";
const options = { skip, timeout: 30_000 };
const PORT = 8080;
const noMaps = (): number => assert.fail("no map in it");

/** A server that says its name to whoever connects, as the holder of a node. */
const greeter = (name: string) => ({
  argv: [
    process.execPath,
    "--eval",
    `require("node:net").createServer((socket) => socket.end(${JSON.stringify(name)}))
      .listen(${PORT}, () => console.log("listening"))`,
  ],
  output: "pipe" as const,
});

/** Connects from `node` to each address and gives what the servers said. */
async function visit(
  network: Network<LabNodeName>,
  node: LabNodeName,
  addresses: readonly string[],
): Promise<Record<string, string>> {
  const code = `
    const visit = (host) => new Promise((resolve) => {
      let said = "";
      require("node:net").connect({ host, port: ${PORT} })
        .on("data", (data) => { said += data; })
        .on("error", (error) => resolve([host, error.code]))
        .on("end", () => resolve([host, said]));
    });
    Promise.all(process.argv.slice(1).map(visit))
      .then((entries) => console.log(JSON.stringify(Object.fromEntries(entries))));`;
  const client = network.nodes[node].spawn([process.execPath, "--eval", code, ...addresses], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return JSON.parse(await output(client)) as Record<string, string>;
}

async function output(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout);
  return await text(child.stdout);
}

async function firstLine(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout);
  const [data] = (await once(child.stdout, "data")) as [Buffer];
  return data.toString();
}

test(
  "everyone reaches everyone over both families, in the switch's subnet and beyond",
  options,
  async (context) => {
    const start = process.hrtime.bigint();
    const servers = ["backend-1", "backend-2", "backend-3"] as const;
    const network = await buildNetwork(labTopology(), {
      holders: Object.fromEntries(servers.map((name) => [name, greeter(name)])),
    });
    try {
      context.diagnostic(`built in ${Number(process.hrtime.bigint() - start) / 1e6} ms`);
      await Promise.all(servers.map((name) => firstLine(network.nodes[name].process)));
      const expected = Object.fromEntries(
        servers.flatMap((name) =>
          ([4, 6] as const).map((family) => [
            formatIp(addressOf(network.topology.nodes[name], family)),
            name,
          ]),
        ),
      );
      for (const from of ["client", "director", "backend-3"] as const) {
        assert.deepEqual(await visit(network, from, Object.keys(expected)), expected, from);
      }
    } finally {
      await network.close();
    }
  },
);

test("the router sends packets for each VIP to the director", options, async () => {
  const network = await buildNetwork(labTopology());
  try {
    const { vips, nodes } = network.topology;
    for (const vip of vips) {
      const decision = network.nodes.router.rtnetlink().route(vip);
      assert.deepEqual(decision.gateway, addressOf(nodes.director, vip.family));
      assert.equal(decision.ifindex, interfaceOf(nodes.router, "eth1").ifindex);
    }
  } finally {
    await network.close();
  }
});

test("a node sees its own interfaces in sysfs and its own BPF file system", options, async () => {
  const network = await buildNetwork(labTopology());
  try {
    const { director, client } = network.nodes;
    assert.deepEqual(readdirSync(director.path("/sys/class/net")).toSorted(), ["eth0", "lo"]);
    using program = loadProgram(xdpPass, noMaps);
    pin(program.fd, director.path("/sys/fs/bpf/pass"));
    const listing = director.spawn(["ls", "/sys/fs/bpf"], { stdio: ["ignore", "pipe", "inherit"] });
    assert.match(await output(listing), /^pass$/m);
    assert.equal(existsSync(client.path("/sys/fs/bpf/pass")), false);
    assert.equal(existsSync("/sys/fs/bpf/pass"), false);
  } finally {
    await network.close();
  }
});

test(
  "what a native XDP program on the director sends back arrives at the backends",
  options,
  async () => {
    const network = await buildNetwork(labTopology());
    try {
      const { director, router } = network.nodes;
      const ports = network.nodes.switch
        .rtnetlink()
        .links()
        .filter(({ master }) => master !== null);
      assert.deepEqual(
        ports.map(({ xdp }) => xdp.map(({ mode }) => mode)),
        ports.map(() => ["native"]),
      );

      // r0 = 3 (XDP_TX); exit
      const instructions = xdpPass.instructions.with(4, 3);
      using program = loadProgram({ ...xdpPass, name: "carom_lab_echo", instructions }, noMaps);
      const { ifindex } = interfaceOf(director.spec, "eth0");
      using _link = director.exec(() =>
        attachXdp({ programFd: program.fd, ifindex, mode: "native" }),
      );

      const backend = network.nodes["backend-1"];
      using receiver = backend.exec(() =>
        PacketSocket.open(interfaceOf(backend.spec, "eth0").ifindex),
      );
      const { mac, ifindex: port } = interfaceOf(router.spec, "eth1");
      using sender = router.exec(() => PacketSocket.open(port));
      // A broadcast of an experimental EtherType: once from the switch, once more from the director.
      const frame = Uint8Array.of(
        ...new Uint8Array(6).fill(0xff),
        ...mac,
        0x88,
        0xb5,
        ...new Uint8Array(46),
      );
      const both = new Promise<Frame[]>((resolve) => {
        const frames: Frame[] = [];
        receiver.watch((received) => {
          if (
            received.bytes[12] === 0x88 &&
            received.bytes[13] === 0xb5 &&
            frames.push(received) === 2
          )
            resolve(frames);
        });
      });
      sender.send(frame);
      for (const received of await both) assert.deepEqual(received.bytes, frame);
    } finally {
      await network.close();
    }
  },
);

test("buildNetwork() leaves nothing when a node cannot be held", options, async () => {
  const before = hostLinks();
  // The shell that sets a node up cannot run this.
  const holders = { "backend-2": { argv: ["/no/such/command"], output: "ignore" as const } };
  await assert.rejects(buildNetwork(labTopology(), { holders }), {
    message: 'Cannot hold node "backend-2" with "/no/such/command": it ended with 127',
  });
  assert.deepEqual(hostLinks(), before);
});

test(
  "nothing is left when the process that built the network is killed",
  options,
  async (context) => {
    const before = hostLinks();
    const builder = spawn(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `const { buildNetwork } = await import(${JSON.stringify(import.meta.resolve("./network.ts"))});
       const { labTopology } = await import(${JSON.stringify(import.meta.resolve("./topology.ts"))});
       const network = await buildNetwork(labTopology());
       const command = network.nodes.client.spawn(["sleep", "60"], { stdio: "ignore" });
       const nodes = Object.values(network.nodes).map(({ name, pid }) => [name, pid]);
       console.log(JSON.stringify({ nodes, command: command.pid }));
       setInterval(() => {}, 1000);`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    try {
      const { nodes, command } = JSON.parse(await firstLine(builder)) as {
        nodes: [string, number][];
        command: number;
      };
      assert.deepEqual(
        nodes.map(([name]) => name),
        labNodes,
      );
      const pids = [...nodes.map(([, pid]) => pid), command];
      assert.deepEqual(
        pids.filter((pid) => !isAlive(pid)),
        [],
      );

      // A cable from outside into every node: the kernel takes it away with the namespace it ends in.
      using outside = Netns.create();
      using witness = outside.run(() => Rtnetlink.open());
      for (const [, pid] of nodes) {
        witness.createVeth({ name: `w${pid}` }, { name: "witness", netns: { pid } });
      }
      // A program that only a pin in the director's BPF file system keeps.
      const director = nodes.find(([name]) => name === "director")?.[1];
      const program = loadProgram(xdpPass, noMaps);
      const { id } = program.info();
      pin(program.fd, `/proc/${director}/root/sys/fs/bpf/pass`);
      program.close();
      assert.equal(programExists(id), true);

      const start = process.hrtime.bigint();
      builder.kill("SIGKILL");
      await until(outside, () => witness.links().every(({ kind }) => kind !== "veth"));
      context.diagnostic(
        `namespaces gone after ${Number(process.hrtime.bigint() - start) / 1e6} ms`,
      );
      assert.deepEqual(pids.filter(isAlive), []);
      // No event tells of a program's end; the test's timeout bounds the wait.
      while (programExists(id)) await delay(5);
      assert.deepEqual(hostLinks(), before);
    } finally {
      builder.kill("SIGKILL");
    }
  },
);

/** Resolves when `condition` holds, asked again on each change in the namespace. */
async function until(netns: Netns, condition: () => boolean): Promise<void> {
  let changed: (() => void) | undefined;
  using _events = netns.run(() => RtnetlinkEvents.open(() => changed?.()));
  while (!condition()) {
    await new Promise<void>((resolve) => {
      changed = resolve;
    });
  }
}

function hostLinks(): string[] {
  using rt = Rtnetlink.open();
  return rt.links().map(({ name, ifindex }) => `${ifindex} ${name}`);
}

/** A zombie has let go of everything, and is left to whoever is its parent now. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}

function programExists(id: number): boolean {
  try {
    call("close", bpf(BpfCommand.BPF_PROG_GET_FD_BY_ID, new BpfAttribute(12).u32(0, id)));
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOENT") return false;
    throw error;
  }
}
