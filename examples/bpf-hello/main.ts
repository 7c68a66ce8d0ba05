/**
 * Loads the program of `program.ts`, as root: `node examples/bpf-hello/main.ts [DEVICE]`.
 *
 * Without a device it shows what the program was compiled to, runs it on three made-up packets and
 * prints what it counted. With one (`ip link add hello type veth peer name world`) it counts there
 * for ten seconds.
 */
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { disassemble } from "../../src/bpf/disassemble.ts";
import { compile } from "../../src/bpf/program.ts";
import { attachXdp } from "../../src/kernel/links.ts";
import { type BpfMap, createMap } from "../../src/kernel/maps.ts";
import { type BpfProgram, loadProgram } from "../../src/kernel/programs.ts";
import { TestRun } from "../../src/kernel/test-run.ts";
import { Count, counts, hello, Kind } from "./program.ts";

const IPV4 = 0x0800;
const IPV6 = 0x86dd;

const image = compile(hello);
using map = createMap(counts);
using program = loadProgram(image, () => map.fd);
const [device] = process.argv.slice(2);
if (device === undefined) {
  console.log(disassemble(image, { sources: true }));
  runOnPackets(program);
} else {
  await countOn(device, program);
}
printCounts(map);

function runOnPackets({ fd }: BpfProgram): void {
  const run = new TestRun(fd, { maxPacket: 100 });
  for (const [etherType, length] of [
    [IPV4, 60],
    [IPV4, 100],
    [IPV6, 80],
  ] as const) {
    const packet = new Uint8Array(length);
    new DataView(packet.buffer).setUint16(12, etherType);
    run.run(packet);
  }
}

async function countOn(name: string, { fd }: BpfProgram): Promise<void> {
  const ifindex = Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
  // The program leaves the device with its link.
  const link = attachXdp({ programFd: fd, ifindex, mode: "generic" });
  await setTimeout(10_000);
  link.close();
}

function printCounts(from: BpfMap): void {
  for (const etherType of [IPV4, IPV6]) {
    const value = from.lookup(Kind.encode({ etherType }));
    if (value === undefined) continue;
    const { packets, bytes } = Count.read(value);
    console.log(`0x${etherType.toString(16).padStart(4, "0")} ${packets} packets, ${bytes} bytes`);
  }
}
