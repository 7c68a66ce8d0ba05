import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { skip } from "../kernel/kernel-fixture.ts";
import { call } from "../kernel/libc.ts";
import { vip } from "../model/service-fixture.ts";
import { readAgentState, writeAgentState } from "./agent-state.ts";

const FOLDER = "/run/carom";
const FILE = `${FOLDER}/agent.json`;

test("writeAgentState() into a full file system throws, and the file stays whole", { skip }, () => {
  call("mount", "tmpfs", "/run", "tmpfs", 0, null);
  mkdirSync(FOLDER);
  call("mount", "tmpfs", FOLDER, "tmpfs", 0, "size=16k");
  const before = { sysctls: [], vips: [vip("203.0.113.200")] };
  writeAgentState(FILE, before);
  // One page of the four is left: a longer write ends there, without an error.
  writeFileSync(`${FOLDER}/else`, new Uint8Array(8192));
  const vips = Array.from({ length: 250 }, (_, host) => vip(`203.0.113.${host}`));
  assert.throws(() => writeAgentState(FILE, { sysctls: [], vips }), /ENOSPC/);
  assert.deepEqual(readAgentState(FILE), before);
});
