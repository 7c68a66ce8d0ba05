/** What `carom teardown` takes away, of both roles and of one instance only. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { RTPROT_CAROM } from "../apply/neighbours.ts";
import { deleteDevice, makeVeth, skip, verdict } from "../kernel/kernel-fixture.ts";
import { attachXdp } from "../kernel/links.ts";
import { makePinDirectory, pin } from "../kernel/pins.ts";
import { loadProgram } from "../kernel/programs.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { attachedXdp } from "../kernel/xdp-attached.ts";
import { formatIp, ip } from "../net/address.ts";
import { carom, makeBackend } from "./agent-fixture.ts";
import { pinFolder, type Role, socketPath } from "./instance.ts";

const options = { skip, timeout: 60_000 };
const XDP_PASS = 2;

before(makeBackend);

const linkPin = (folder: string, ifindex: number): string => `${folder}/link_${ifindex}`;

/** What a killed daemon leaves: a pinned link and a generation. */
function leave(instance: string, role: Role, ifindex: number): void {
  const folder = pinFolder(instance, role);
  makePinDirectory(`${folder}/3`);
  using program = loadProgram(verdict(XDP_PASS), () => -1);
  pin(program.fd, `${folder}/3/program_${ifindex}`);
  using link = attachXdp({ programFd: program.fd, ifindex, mode: "native" });
  pin(link.fd, linkPin(folder, ifindex));
}

test("carom teardown removes both roles of its instance and no other", options, () => {
  type Four = [number, number, number, number];
  const [one, two, three, gone] = ["car0", "car1", "car2", "car3"].map(makeVeth) as Four;
  leave("main", "director", one);
  leave("main", "agent", two);
  leave("main", "agent", gone);
  leave("blue", "agent", three);
  deleteDevice("car3");
  mkdirSync("/run/carom/main", { recursive: true });
  // A file where nobody answers, as a killed daemon's socket.
  writeFileSync(socketPath("main", "director"), "");

  const { code, stdout, stderr } = carom(["teardown", "--instance", "main"]);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.deepEqual(
    stdout.split("\n").toSorted(),
    [
      "",
      "detached the program from car0",
      "detached the program from car1",
      `removed ${linkPin(pinFolder("main", "agent"), gone)}, the link of an interface that is gone`,
      "removed /sys/fs/bpf/carom/main/agent",
      "removed /sys/fs/bpf/carom/main/agent/3",
      "removed /sys/fs/bpf/carom/main/director",
      "removed /sys/fs/bpf/carom/main/director/3",
      "removed /run/carom/main/director.sock",
    ].toSorted(),
  );
  assert.equal(existsSync("/sys/fs/bpf/carom/main"), false);
  assert.equal(existsSync("/run/carom/main"), false);
  assert.equal(attachedXdp(one), null);
  assert.equal(attachedXdp(two), null);
  assert.notEqual(attachedXdp(three), null);

  assert.equal(carom(["teardown"]).stdout, 'Nothing of instance "main" is here\n');
  assert.equal(carom(["teardown", "--instance", "blue"]).code, 0);
  assert.equal(attachedXdp(three), null);
  assert.equal(existsSync("/sys/fs/bpf/carom"), false);
});

test("carom teardown of the last director gives its neighbours back", options, () => {
  const ifindex = makeVeth("dir0");
  const others = makeVeth("dir1");
  using rtnetlink = Rtnetlink.open();
  rtnetlink.addAddress({ ifindex, address: ip("198.51.100.1"), prefixLength: 24 });
  const kept = (): readonly string[] =>
    rtnetlink
      .neighbours()
      .filter(({ managed }) => managed)
      .map(({ address }) => formatIp(address));
  rtnetlink.keepNeighbour(ifindex, ip("198.51.100.2"), RTPROT_CAROM);
  rtnetlink.keepNeighbour(ifindex, ip("198.51.100.3"), RTPROT_CAROM + 1);
  leave("main", "director", ifindex);
  leave("blue", "director", others);

  carom(["teardown"]);
  assert.deepEqual(kept().toSorted(), ["198.51.100.2", "198.51.100.3"], "blue may need them");
  const { code, stdout } = carom(["teardown", "--instance", "blue"]);
  assert.equal(code, 0);
  assert.match(stdout, /^gave neighbour 198\.51\.100\.2 on dir0 back to the kernel$/m);
  assert.deepEqual(kept(), ["198.51.100.3"]);
});

test("carom teardown takes no name that is no instance's", options, () => {
  const { code, stderr } = carom(["teardown", "--instance", "../other"]);
  assert.equal(code, 2);
  assert.match(stderr, /An instance name is 1 to 32 of a-z, 0-9 and "-"/);
});
