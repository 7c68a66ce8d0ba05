import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { ProgramType } from "../bpf/image.ts";
import {
  deleteDevice,
  EXIT,
  fault,
  imageOf,
  makeVeth,
  moveImm,
  skip,
  verdict,
} from "./kernel-fixture.ts";
import { attachTcx, AttachType, attachXdp, openLink } from "./links.ts";
import { BPFFS, pin, removePin } from "./pins.ts";
import type { BpfProgram } from "./programs.ts";
import { loadProgram } from "./programs.ts";
import { attachedXdp } from "./xdp-attached.ts";

const noMaps = (): number => assert.fail("no map in it");
const xdpProgram = (value: number, name: string): BpfProgram =>
  loadProgram(verdict(value, name), noMaps);
const tcProgram = (): BpfProgram =>
  loadProgram(
    imageOf([moveImm(0, -1), EXIT], { type: ProgramType.BPF_PROG_TYPE_SCHED_CLS }),
    noMaps,
  );

const attach = (programFd: number, ifindex: number) => () =>
  attachXdp({ programFd, ifindex, mode: "native" });

const XDP_DROP = 1;
const XDP_PASS = 2;

for (const mode of ["native", "generic"] as const) {
  test(`attachXdp() attaches in ${mode} mode, and closing takes the program off`, { skip }, () => {
    const ifindex = makeVeth("car0");
    try {
      using program = xdpProgram(XDP_PASS, "carom_pass");
      using link = attachXdp({ programFd: program.fd, ifindex, mode });
      const { id: programId } = program.info();
      const { id, ...info } = link.info();
      assert.deepEqual(info, { programId, ifindex, attachType: AttachType.BPF_XDP });
      assert.ok(id > 0);
      assert.deepEqual(attachedXdp(ifindex), { mode, programId, name: "carom_pass" });
      link.close();
      assert.equal(attachedXdp(ifindex), null);
    } finally {
      deleteDevice("car0");
    }
  });
}

test("attachXdp() says who is on the device already", { skip }, () => {
  const ifindex = makeVeth("car0");
  try {
    using first = xdpProgram(XDP_PASS, "xdp_foo");
    using second = xdpProgram(XDP_DROP, "carom_drop");
    using held = attachXdp({ programFd: first.fd, ifindex, mode: "native" });
    const { programId: id } = held.info();
    for (const mode of ["native", "generic"] as const) {
      assert.throws(
        () => attachXdp({ programFd: second.fd, ifindex, mode }),
        fault(
          "LINK_BUSY",
          new RegExp(
            `^Cannot attach ${mode} XDP to car0: it already has a native XDP program, id ${id} \\("xdp_foo"\\); remove it with "ip link set dev car0 xdpdrv off"`,
          ),
        ),
      );
    }
  } finally {
    deleteDevice("car0");
  }
});

test("attachXdp() explains what a device does not take", { skip }, () => {
  using program = xdpProgram(XDP_PASS, "carom_pass");
  using classifier = tcProgram();
  const ifindex = makeVeth("car0");
  try {
    assert.throws(
      attach(program.fd, 9999),
      fault("LINK_CREATE", /interface 9999: there is no such device/),
    );
    assert.throws(
      attach(program.fd, 1),
      fault("LINK_CREATE", /to lo: EOPNOTSUPP, .* use generic mode/),
    );
    assert.throws(attach(classifier.fd, ifindex), fault("LINK_CREATE", /not of type XDP/));
    for (const end of ["car0", "car0p"]) execFileSync("ip", ["link", "set", end, "mtu", "9000"]);
    assert.throws(
      attach(program.fd, ifindex),
      fault("LINK_CREATE", /ERANGE, its MTU is too large/),
    );
    using fragments = loadProgram(verdict(XDP_PASS), noMaps, { fragments: true });
    attach(fragments.fd, ifindex)().close();
  } finally {
    deleteDevice("car0");
  }
});

test("BpfLink.update() replaces only the program expected", { skip }, () => {
  const ifindex = makeVeth("car0");
  try {
    using first = xdpProgram(XDP_PASS, "carom_first");
    using second = xdpProgram(XDP_DROP, "carom_second");
    using third = xdpProgram(XDP_PASS, "carom_third");
    using link = attachXdp({ programFd: first.fd, ifindex, mode: "native" });
    link.update(second.fd, first.fd);
    assert.equal(link.info().programId, second.info().id);
    assert.throws(
      () => link.update(third.fd, first.fd),
      fault("LINK_CHANGED", new RegExp(`on car0: it now runs program id ${second.info().id}, `)),
    );
    assert.equal(link.info().programId, second.info().id, "still the second");
    link.update(third.fd);
    assert.equal(link.info().programId, third.info().id);
  } finally {
    deleteDevice("car0");
  }
});

test("BpfLink.update() explains a program of another type and a device that is gone", {
  skip,
}, () => {
  const ifindex = makeVeth("car0");
  using program = xdpProgram(XDP_PASS, "carom_pass");
  using classifier = tcProgram();
  using link = attachXdp({ programFd: program.fd, ifindex, mode: "native" });
  assert.throws(() => link.update(classifier.fd), fault("LINK_UPDATE", /another type/));
  deleteDevice("car0");
  assert.equal(link.info().ifindex, 0);
  assert.throws(() => link.update(program.fd), fault("LINK_UPDATE", /its device is gone/));
});

test("A pinned link outlives its descriptor; detach() ends it for all", { skip }, () => {
  const ifindex = makeVeth("car0");
  const path = `${BPFFS}/carom_link`;
  try {
    using program = xdpProgram(XDP_PASS, "carom_pass");
    {
      using link = attachXdp({ programFd: program.fd, ifindex, mode: "native" });
      pin(link.fd, path);
    }
    assert.equal(attachedXdp(ifindex)?.programId, program.info().id);
    using again = openLink(path);
    again.detach();
    assert.equal(attachedXdp(ifindex), null);
  } finally {
    removePin(path);
    deleteDevice("car0");
  }
});

for (const { direction, attachType } of [
  { direction: "ingress", attachType: AttachType.BPF_TCX_INGRESS },
  { direction: "egress", attachType: AttachType.BPF_TCX_EGRESS },
] as const) {
  test(`attachTcx() attaches to ${direction} and replaces`, { skip }, () => {
    using first = tcProgram();
    using second = tcProgram();
    using link = attachTcx({ programFd: first.fd, ifindex: 1, direction });
    const { id: _, ...info } = link.info();
    assert.deepEqual(info, { programId: first.info().id, ifindex: 1, attachType });
    link.update(second.fd, first.fd);
    assert.equal(link.info().programId, second.info().id);
    assert.throws(
      () => link.update(second.fd, first.fd),
      fault("LINK_CHANGED", /on lo: it now runs/),
    );
    assert.throws(
      () => attachTcx({ programFd: second.fd, ifindex: 1, direction }),
      fault("LINK_CREATE", /already/),
    );
    assert.throws(
      () => attachTcx({ programFd: first.fd, ifindex: 9999, direction }),
      fault("LINK_CREATE", /no such device/),
    );
  });
}
