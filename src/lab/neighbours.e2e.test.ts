/** A backend's MAC changes, or nobody answers for it any more: what clients and counters see. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { writeSysctl } from "../kernel/sysctl.ts";
import { formatMac, mac } from "../net/mac.ts";
import { Ethernet } from "../packet/headers.ts";
import { Lab } from "./lab.ts";
import { flowsTo, skip, visit } from "./lab-fixture.ts";
import { addressOf, interfaceOf } from "./topology.ts";

const options = { skip, timeout: 60_000 };
const OTHER_MAC = mac("00:00:5e:00:53:77");
const NO_MAC = mac("00:00:00:00:00:00");
/** A packet lost on the way is sent again only after a second. */
const VISIT_WITHIN_MS = 200;

test("traffic follows a backend whose MAC changes", options, async (context) => {
  const lab = await Lab.start();
  try {
    const flowTo = await flowsTo(lab);
    assert.equal(await visit(lab, flowTo("web-1", 4)), "web-1");
    const backend = lab.network.nodes["backend-1"];
    // The kernel then tells its neighbours (gratuitous ARP).
    backend.exec(() => writeSysctl(["net", "ipv4", "conf", "eth0", "arp_notify"], "1"));
    const { ifindex } = interfaceOf(backend.spec, "eth0");
    const startMs = performance.now();
    backend.rtnetlink().setLink(ifindex, { mac: OTHER_MAC });
    // The test's timeout bounds the wait.
    while ((await visit(lab, flowTo("web-1", 4), VISIT_WITHIN_MS)) !== "web-1") await delay(10);
    context.diagnostic(`answered again after ${(performance.now() - startMs).toFixed(0)} ms`);
    const [pool] = (await lab.status()).pools;
    const [status] = pool?.backends ?? [];
    assert.equal(status?.nextHop, formatMac(OTHER_MAC));
    assert.equal(await visit(lab, flowTo("web-1", 6)), "web-1");
  } finally {
    await lab.close();
  }
});

test("packets for a backend that is gone are counted, not sent to no MAC", options, async () => {
  const lab = await Lab.start();
  const { director, "backend-1": backend, switch: wires } = lab.network.nodes;
  const port = wires.spec.interfaces.find(({ name }) => name === "director");
  const toNobody: Uint8Array[] = [];
  let frames = 0;
  using socket = wires.exec(() => PacketSocket.open(port?.ifindex ?? 0, { promiscuous: true }));
  socket.watch(({ direction, bytes }) => {
    if (direction === "outgoing") return;
    frames++;
    if (formatMac(Ethernet.read(bytes).destination) === formatMac(NO_MAC)) toNobody.push(bytes);
  });
  try {
    const flowTo = await flowsTo(lab);
    const unresolved = async (): Promise<number> =>
      (await lab.status()).reasons["no_next_hop"]?.packets ?? 0;
    assert.equal(await visit(lab, flowTo("web-1", 4)), "web-1");
    assert.equal(await unresolved(), 0);

    backend.rtnetlink().setLink(interfaceOf(backend.spec, "eth0").ifindex, { up: false });
    director
      .rtnetlink()
      .deleteNeighbour(interfaceOf(director.spec, "eth0").ifindex, addressOf(backend.spec, 4));
    while ((await unresolved()) === 0) {
      assert.equal(await visit(lab, flowTo("web-1", 4), VISIT_WITHIN_MS), "timeout");
    }
    // The others are served all the while.
    assert.equal(await visit(lab, flowTo("web-2", 4)), "web-2");
    assert.equal(await visit(lab, flowTo("web-3", 6)), "web-3");
    assert.ok(frames > 0);
    assert.deepEqual(toNobody, []);
  } finally {
    await lab.close();
  }
});
