/** The example runs as it is, and tools see what it left: names of fields, functions, lines. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Count, counts, hello, Kind } from "../../examples/bpf-hello/program.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { createMap, mapInfo } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { compile } from "./program.ts";

const example = fileURLToPath(new URL("../../examples/bpf-hello/main.ts", import.meta.url));
const bpftool = ["bpftool", "/usr/sbin/bpftool"].find(
  (path) => spawnSync(path, ["version"]).status === 0,
);
const noTool = bpftool === undefined ? "bpftool is not installed" : skip;

test("examples/bpf-hello counts the packets it is run on", { skip }, () => {
  const printed = execFileSync(process.execPath, [example], { encoding: "utf8" });
  const [, listing, counted] = /^([\s\S]*exit)\n([\s\S]*)$/.exec(printed) ?? [];
  assert.match(listing ?? "", /; packet\.require\(Ethernet\.size, XDP_PASS\); @ /);
  assert.equal(counted, "0x0800 2 packets, 160 bytes\n0x86dd 1 packets, 80 bytes\n");
});

test("bpftool prints the fields of keys and values by name", { skip: noTool }, () => {
  using map = createMap(counts);
  map.update(Kind.encode({ etherType: 0x0800 }), Count.encode({ packets: 3n, bytes: 180n }));
  const { id } = mapInfo(map.fd);
  const dump = execFileSync(bpftool ?? "", ["map", "dump", "id", String(id)], { encoding: "utf8" });
  const [entry] = JSON.parse(dump) as { key: unknown; value: unknown }[];
  // BTF knows no byte order: the bytes 08 00 are 8 to a little-endian reader.
  assert.deepEqual(entry?.key, { etherType: 8, "": [0, 0] });
  assert.deepEqual(entry?.value, { packets: 3, bytes: 180 });
});

test("bpftool prints the author's lines between the instructions", { skip: noTool }, () => {
  using map = createMap(counts);
  using program = loadProgram(compile(hello), () => map.fd);
  const { id } = program.info();
  const dump = execFileSync(bpftool ?? "", ["prog", "dump", "xlated", "id", String(id), "linum"], {
    encoding: "utf8",
  });
  assert.match(dump, /^int hello\(struct xdp_md \* ?ctx\):/m);
  assert.match(dump, /; packet\.require\(Ethernet\.size, XDP_PASS\);.*program\.ts line_num:\d+/);
});
