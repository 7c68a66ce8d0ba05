/** `carom lab up`, `status`, `shell` and `down`, as typed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { leftOf, tracesOf } from "./aftermath.ts";
import { CAROM } from "./daemon-process.ts";
import type { KeptLab } from "./kept-lab.ts";
import { skip } from "./lab-fixture.ts";

const options = { skip, timeout: 60_000 };

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function lab(...args: readonly string[]): Outcome {
  const [command = "", ...rest] = [...CAROM, "lab", ...args];
  const cwd = join(import.meta.dirname, "../..");
  const { status, stdout, stderr } = spawnSync(command, rest, { cwd, encoding: "utf8" });
  return { code: status, stdout, stderr };
}

after(() => {
  if (skip === false) lab("down");
});

test("without a kept lab, its commands say so", options, () => {
  lab("down");
  assert.deepEqual(lab("status"), { code: 1, stdout: "no lab is up\n", stderr: "" });
  assert.deepEqual(lab("status", "--json"), { code: 1, stdout: "null\n", stderr: "" });
  assert.deepEqual(lab("shell", "client"), {
    code: 1,
    stdout: "",
    stderr: 'carom: Cannot enter "client": no lab is up; run carom lab up\n',
  });
  assert.deepEqual(lab("down"), { code: 0, stdout: "no lab is up\n", stderr: "" });
});

test("a lab is kept, entered and taken down", options, async () => {
  const up = lab("up");
  assert.equal(up.stderr, "");
  assert.equal(up.code, 0);
  assert.match(up.stdout, /^the lab is up since /);
  const kept = JSON.parse(lab("status", "--json").stdout) as KeptLab;
  assert.equal(kept.state, "up");
  assert.deepEqual(
    kept.nodes.map(({ name }) => name),
    ["client", "router", "switch", "director", "backend-1", "backend-2", "backend-3"],
  );
  assert.match(lab("status").stdout, /^backend-3 .* carom agent, HTTP server web-3$/m);

  const second = lab("up");
  assert.equal(second.code, 1);
  assert.equal(
    second.stderr,
    `carom: Cannot start a lab: one is up already (pid ${kept.pid}); run carom lab down first\n`,
  );

  // The command runs where it should, and `carom` is this one.
  assert.match(lab("shell", "client", "--", "ip", "address").stdout, /inet 198\.51\.100\.10\/24/);
  const status = lab("shell", "director", "--", "carom", "status", "--json");
  assert.equal(
    (JSON.parse(status.stdout) as { director: { instance: string } }).director.instance,
    "main",
  );
  assert.equal(lab("shell", "router", "--", "sh", "-c", "exit 7").code, 7);
  assert.match(lab("shell", "mars").stderr, /Cannot enter "mars": the lab has client, router, /);

  const traces = tracesOf(kept.nodes.map(({ pid }) => pid));
  assert.deepEqual(traces.programIds.length, 4);
  assert.deepEqual(lab("down"), { code: 0, stdout: "the lab is down\n", stderr: "" });
  assert.deepEqual(await leftOf(traces), []);
  assert.equal(lab("status").code, 1);
});

test("a lab whose keeper was killed is gone, and another can be kept", options, async () => {
  assert.equal(lab("up").code, 0);
  const kept = JSON.parse(lab("status", "--json").stdout) as KeptLab;
  const traces = tracesOf(kept.nodes.map(({ pid }) => pid));
  process.kill(kept.pid, "SIGKILL");
  assert.deepEqual(await leftOf(traces), []);
  assert.equal(lab("status").code, 1);
  const wrong = lab("up", "--config", "package.json");
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /^carom: package\.json:\d+:\d+: /);
  assert.equal(lab("up", "--config", "examples/lab/director.yaml").code, 0);
  assert.equal(lab("down").code, 0);
});
