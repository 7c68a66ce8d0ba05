/** The calls against the running kernel, each test in network namespaces of its own. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { formatIp, ip } from "../net/address.ts";
import { formatMac, mac } from "../net/mac.ts";
import { readFeatures, readOffloads, setOffloads } from "./ethtool.ts";
import { NetlinkError } from "./netlink.ts";
import { Netns } from "./netns.ts";
import { PacketSocket } from "./packet-socket.ts";
import { formatPrefix, Rtnetlink } from "./rtnetlink.ts";
import type { RtnetlinkEvent } from "./rtnetlink-events.ts";
import { RtnetlinkEvents } from "./rtnetlink-events.ts";
import { readSysctl, writeSysctl } from "./sysctl.ts";

const skip = process.getuid?.() === 0 ? false : "needs root to create network namespaces";
const options = { skip, timeout: 20_000 };

const HERE = ip("192.0.2.1");
const HERE_6 = ip("2001:db8:2::1");
const THERE = ip("192.0.2.2");
const THERE_6 = ip("2001:db8:2::2");
const VIP = ip("203.0.113.200");
const VIP_6 = ip("2001:db8:f::200");
const HERE_MAC = mac("02:00:5e:00:53:01");
const THERE_MAC = mac("02:00:5e:00:53:02");

/** Two namespaces joined by a veth pair `a0` - `b0` with addresses of both families, up. */
function world() {
  const here = Netns.create();
  const there = Netns.create();
  const a = rtnetlinkIn(here);
  const b = rtnetlinkIn(there);
  a.createVeth(
    { name: "a0", mac: HERE_MAC, ifindex: 11 },
    { name: "b0", mac: THERE_MAC, ifindex: 12, netns: { fd: there.fd } },
  );
  const a0 = linkOf(a, "a0");
  const b0 = linkOf(b, "b0");
  b.setLink(b0, { up: true });
  a.setLink(a0, { up: true });
  a.setLink(linkOf(a, "lo"), { up: true });
  a.addAddress({ ifindex: a0, address: HERE, prefixLength: 24 });
  a.addAddress({ ifindex: a0, address: HERE_6, prefixLength: 64, flags: ["nodad"] });
  b.addAddress({ ifindex: b0, address: THERE, prefixLength: 24 });
  b.addAddress({ ifindex: b0, address: THERE_6, prefixLength: 64, flags: ["nodad"] });
  const close = (): void => {
    for (const part of [a, b, here, there]) part.close();
  };
  return { here, there, a, b, a0, b0, close, [Symbol.dispose]: close };
}

const rtnetlinkIn = (netns: Netns): Rtnetlink => netns.run(() => Rtnetlink.open());

function rtnetlinkNames(): string[] {
  using rt = Rtnetlink.open();
  return rt
    .links()
    .map(({ name }) => name)
    .filter((name) => !name.startsWith("ifb"));
}

function linkOf(rt: Rtnetlink, name: string): number {
  const link = rt.link(name);
  assert.ok(link, `no link ${name}`);
  return link.ifindex;
}

const refusal =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof NetlinkError && error.code === code;

const manyAddress = (index: number) => ip(`198.18.${index >> 8}.${index & 255}`);

// An EtherType nobody answers (IEEE 802 local experimental).
const frame = (destination: Uint8Array, payload: number): Uint8Array =>
  Uint8Array.of(...destination, ...HERE_MAC, 0x88, 0xb5, ...new Uint8Array(46).fill(payload));
const isExperimental = ({ bytes }: { readonly bytes: Uint8Array }): boolean =>
  bytes[12] === 0x88 && bytes[13] === 0xb5;

/** Opens a subscription in `netns`; `until` resolves with the first event that matches, past ones too. */
function subscribe(netns: Netns, receiveBufferBytes?: number) {
  const seen: RtnetlinkEvent[] = [];
  let check: (() => void) | undefined;
  const onEvent = (event: RtnetlinkEvent): void => {
    seen.push(event);
    check?.();
  };
  const open = () =>
    RtnetlinkEvents.open(onEvent, receiveBufferBytes === undefined ? {} : { receiveBufferBytes });
  const events = netns.run(open);
  const until = (matches: (event: RtnetlinkEvent) => boolean): Promise<RtnetlinkEvent> =>
    new Promise((resolve) => {
      check = () => {
        const found = seen.find(matches);
        if (found !== undefined) resolve(found);
      };
      check();
    });
  return { seen, until, close: () => events.close(), [Symbol.dispose]: () => events.close() };
}

test(
  "createVeth() puts both ends where they belong, down, and setLink() brings them up",
  options,
  () => {
    using here = Netns.create();
    using there = Netns.create();
    using third = Netns.create();
    using main = rtnetlinkIn(here);
    using a = rtnetlinkIn(there);
    using b = rtnetlinkIn(third);
    main.createVeth(
      { name: "a0", mac: HERE_MAC, mtu: 1400, netns: { fd: there.fd } },
      { name: "b0", netns: { fd: third.fd } },
    );
    assert.deepEqual(
      main
        .links()
        .map(({ name }) => name)
        .filter((name) => name.startsWith("a")),
      [],
    );
    const end = a.link("a0");
    assert.ok(end);
    assert.deepEqual(
      [end.kind, end.mtu, end.mac && formatMac(end.mac), end.up, end.lowerUp, end.xdp],
      ["veth", 1400, formatMac(HERE_MAC), false, false, []],
    );
    assert.equal(end.lower, b.link("b0")?.ifindex);

    a.setLink(end.ifindex, { up: true, mtu: 3498 });
    assert.deepEqual(
      [a.link("a0")?.up, a.link("a0")?.lowerUp, a.link("a0")?.mtu],
      [true, false, 3498],
    );
    b.setLink(linkOf(b, "b0"), { up: true });
    assert.equal(a.link(end.ifindex)?.lowerUp, true);

    a.setLink(end.ifindex, { up: false });
    a.setLink(end.ifindex, { name: "eth0.10", mac: THERE_MAC });
    assert.equal(a.link("a0"), undefined);
    assert.deepEqual(a.link("eth0.10")?.mac, THERE_MAC);

    a.deleteLink("eth0.10");
    assert.equal(b.link("b0"), undefined);
  },
);

test("createVeth() puts an end into the namespace of a process", options, () => {
  using here = Netns.create();
  using main = rtnetlinkIn(here);
  // The thread is inside while it asks, so its own pid names the namespace.
  here.run(() => main.createVeth({ name: "a0" }, { name: "b0", netns: { pid: process.pid } }));
  assert.ok(main.link("b0"));
});

test("createBridge() and setLink() enslave and release a port", options, () => {
  using here = Netns.create();
  using rt = rtnetlinkIn(here);
  rt.createBridge({ name: "br0", mac: HERE_MAC });
  rt.createVeth({ name: "a0" }, { name: "b0" });
  const bridge = rt.link("br0");
  assert.equal(bridge?.kind, "bridge");
  rt.setLink(linkOf(rt, "a0"), { master: bridge.ifindex });
  assert.equal(rt.link("a0")?.master, bridge.ifindex);
  rt.setLink(linkOf(rt, "a0"), { master: null });
  assert.equal(rt.link("a0")?.master, null);
});

test("a refusal says what was tried, the errno and the kernel's own words", options, () => {
  using here = Netns.create();
  using rt = rtnetlinkIn(here);
  assert.throws(
    () => rt.setLink(linkOf(rt, "lo"), { mtu: 2 ** 31 }),
    (error) => {
      assert.ok(error instanceof NetlinkError);
      assert.match(error.message, /^Cannot change link 1: EINVAL \(mtu .+\)$/);
      assert.equal(error.code, "EINVAL");
      assert.match(error.explanation ?? "", /mtu/);
      return true;
    },
  );
  assert.throws(() => rt.deleteLink("none"), { message: 'Cannot delete link "none": ENODEV' });
});

test("addAddress() puts VIPs on lo, deleteAddress() takes them away", options, () => {
  using here = Netns.create();
  using rt = rtnetlinkIn(here);
  const ifindex = linkOf(rt, "lo");
  const vip = { ifindex, address: VIP, prefixLength: 32 };
  const vip6 = { ifindex, address: VIP_6, prefixLength: 128, flags: ["nodad"] as const };
  rt.addAddress(vip);
  rt.addAddress(vip6);
  assert.throws(() => rt.addAddress(vip), refusal("EEXIST"));
  const listed = rt
    .addresses()
    .map(({ address, prefixLength, scope, flags }) =>
      [`${formatIp(address)}/${prefixLength}`, scope, ...flags].join(" "),
    );
  assert.deepEqual(listed, [
    "203.0.113.200/32 global permanent",
    "2001:db8:f::200/128 global nodad permanent",
  ]);
  rt.deleteAddress(vip);
  rt.deleteAddress(vip6);
  assert.deepEqual(rt.addresses(), []);
  assert.throws(() => rt.deleteAddress(vip), refusal("EADDRNOTAVAIL"));
});

test(
  "addRoute() is listed by routes(), decided by route(), and gone after deleteRoute()",
  options,
  () => {
    using w = world();
    for (const [destination, gateway, source, inside] of [
      [{ address: ip("198.51.100.0"), length: 24 }, THERE, HERE, ip("198.51.100.7")],
      [{ address: ip("2001:db8:1::"), length: 64 }, THERE_6, HERE_6, ip("2001:db8:1::7")],
      [{ address: ip("203.0.113.0"), length: 24 }, THERE_6, HERE, ip("203.0.113.7")],
    ] as const) {
      assert.equal(w.a.route(inside).type, "unreachable");
      const route = { destination, nextHops: [{ gateway, ifindex: w.a0 }], mtu: 1300 };
      w.a.addRoute(route);
      assert.throws(() => w.a.addRoute(route), refusal("EEXIST"));
      w.a.replaceRoute({ ...route, mtu: 1280 });
      const expected = { type: "unicast", ifindex: w.a0, gateway, source, mtu: 1280 };
      assert.deepEqual(w.a.route(inside), expected);
      assert.deepEqual(w.a.route(inside, { source }), {
        ...expected,
        source: w.a.route(inside, { source }).source,
      });
      const listed = w.a
        .routes()
        .find(
          (found) =>
            found.destination.length === destination.length &&
            formatIp(found.destination.address) === formatIp(destination.address),
        );
      assert.deepEqual(listed?.nextHops, [{ ifindex: w.a0, gateway, weight: 1 }]);
      assert.deepEqual(
        [listed.type, listed.table, listed.protocol, listed.mtu],
        ["unicast", 254, 4, 1280],
      );
      w.a.deleteRoute({ destination });
      assert.equal(w.a.route(inside).type, "unreachable");
      assert.throws(() => w.a.deleteRoute({ destination }), refusal("ESRCH"));
    }
  },
);

test("routes() lists several next hops with their weights", options, () => {
  using w = world();
  for (const [destination, gateways] of [
    [{ address: VIP, length: 32 }, [THERE, ip("192.0.2.3")]],
    [{ address: VIP_6, length: 128 }, [THERE_6, ip("2001:db8:2::3")]],
  ] as const) {
    const nextHops = gateways.map((gateway, index) => ({
      gateway,
      ifindex: w.a0,
      weight: index + 1,
    }));
    w.a.addRoute({ destination, nextHops });
    const listed = w.a
      .routes()
      .find((route) => formatIp(route.destination.address) === formatIp(destination.address));
    assert.deepEqual(listed?.nextHops, nextHops);
  }
});

for (const type of ["unreachable", "prohibit", "blackhole"] as const) {
  test(`route() decides "${type}" for both families alike`, options, () => {
    using w = world();
    for (const [address, length] of [
      [VIP, 32],
      [VIP_6, 128],
    ] as const) {
      w.a.addRoute({ destination: { address, length }, type });
      assert.equal(w.a.route(address).type, type);
    }
  });
}

test("route() decides local for VIPs on lo", options, async () => {
  using here = Netns.create();
  using events = subscribe(here);
  using rt = rtnetlinkIn(here);
  const ifindex = linkOf(rt, "lo");
  rt.setLink(ifindex, { up: true });
  rt.addAddress({ ifindex, address: VIP, prefixLength: 32 });
  rt.addAddress({ ifindex, address: VIP_6, prefixLength: 128, flags: ["nodad"] });
  // The kernel makes an IPv6 address usable from a worker (addrconf_dad_work in net/ipv6/addrconf.c).
  await events.until(
    (event) =>
      event.kind === "route" && formatIp(event.route.destination.address) === formatIp(VIP_6),
  );
  for (const address of [VIP, VIP_6]) {
    const expected = { type: "local", ifindex, gateway: null, source: address, mtu: null };
    assert.deepEqual(rt.route(address), expected);
  }
});

test("routes() of another table are apart from those of main", options, () => {
  using w = world();
  assert.deepEqual(w.a.routes(1000), []);
  w.a.addRoute({
    destination: { address: VIP, length: 32 },
    nextHops: [{ ifindex: w.a0 }],
    table: 1000,
  });
  assert.deepEqual(
    w.a.routes(1000).map((route) => formatIp(route.destination.address)),
    [formatIp(VIP)],
  );
  assert.equal(w.a.route(VIP).type, "unreachable");
});

test(
  "resolveNeighbour() makes the kernel ask, and the answer comes as an event",
  options,
  async () => {
    using w = world();
    using events = subscribe(w.here);
    for (const address of [THERE, THERE_6]) {
      assert.equal(w.a.neighbour(w.a0, address), undefined);
      w.a.resolveNeighbour(w.a0, address);
      await events.until(
        (event) =>
          event.kind === "neighbour" &&
          event.neighbour.state === "reachable" &&
          formatIp(event.neighbour.address) === formatIp(address),
      );
      const known = w.a.neighbour(w.a0, address);
      assert.deepEqual(known?.mac, THERE_MAC);
      assert.equal(known.managed, false);
    }
  },
);

const OURS = 202;
const ANOTHERS = 203;

test(
  "keepNeighbour() marks the entry as managed by the kernel, which resolves it",
  options,
  async () => {
    using w = world();
    using events = subscribe(w.here);
    w.a.keepNeighbour(w.a0, THERE, OURS);
    const event = await events.until(
      (event) => event.kind === "neighbour" && event.neighbour.state === "reachable",
    );
    assert.ok(event.kind === "neighbour" && event.neighbour.managed);
    assert.equal(event.neighbour.protocol, OURS);
    w.a.keepNeighbour(w.a0, THERE, OURS);
    w.a.deleteNeighbour(w.a0, THERE);
    assert.equal(
      w.a.neighbours().some(({ managed }) => managed),
      false,
    );
  },
);

test("releaseNeighbour() gives an entry back as it is, and only one's own", options, async () => {
  using w = world();
  using events = subscribe(w.here);
  for (const address of [THERE, THERE_6]) {
    assert.equal(w.a.releaseNeighbour(w.a0, address, OURS), false, "there is none");
    w.a.keepNeighbour(w.a0, address, OURS);
    await events.until(
      (event) =>
        event.kind === "neighbour" &&
        event.neighbour.state === "reachable" &&
        formatIp(event.neighbour.address) === formatIp(address),
    );
    assert.equal(w.a.releaseNeighbour(w.a0, address, ANOTHERS), false);
    assert.equal(w.a.neighbour(w.a0, address)?.managed, true);
    assert.equal(w.a.releaseNeighbour(w.a0, address, OURS), true);
    const { state, managed, mac } = w.a.neighbour(w.a0, address)!;
    assert.deepEqual([state, managed, mac], ["reachable", false, THERE_MAC]);
    assert.equal(w.a.releaseNeighbour(w.a0, address, OURS), false, "nobody keeps it");

    // What another keeps already stays the other's.
    w.a.deleteNeighbour(w.a0, address);
    w.a.keepNeighbour(w.a0, address, ANOTHERS);
    w.a.keepNeighbour(w.a0, address, OURS);
    assert.equal(w.a.neighbour(w.a0, address)?.protocol, ANOTHERS);
    assert.equal(w.a.releaseNeighbour(w.a0, address, OURS), false);
  }
});

test("setNeighbour() and deleteNeighbour() replace and remove permanent entries", options, () => {
  using w = world();
  for (const address of [THERE, THERE_6]) {
    w.a.setNeighbour({ ifindex: w.a0, address, mac: HERE_MAC });
    w.a.setNeighbour({ ifindex: w.a0, address, mac: THERE_MAC });
    const known = w.a.neighbour(w.a0, address);
    assert.deepEqual([known?.state, known?.mac], ["permanent", THERE_MAC]);
    w.a.deleteNeighbour(w.a0, address);
    assert.ok([undefined, "failed"].includes(w.a.neighbour(w.a0, address)?.state));
  }
});

test(
  "RtnetlinkEvents reports links, addresses and routes that appear and go",
  options,
  async () => {
    using w = world();
    using events = subscribe(w.here);
    for (const [address, length] of [
      [ip("192.0.2.77"), 32],
      [ip("2001:db8:2::77"), 128],
    ] as const) {
      const added = { ifindex: w.a0, address, prefixLength: length, flags: ["nodad"] as const };
      const destination = { address: length === 32 ? VIP : VIP_6, length };
      const addressEvent = (change: string) =>
        events.until(
          (event) =>
            event.kind === "address" &&
            event.change === change &&
            event.address.prefixLength === length &&
            formatIp(event.address.address) === formatIp(address),
        );
      const routeEvent = (change: string) =>
        events.until(
          (event) =>
            event.kind === "route" &&
            event.change === change &&
            formatPrefix(event.route.destination) === formatPrefix(destination),
        );
      w.a.addAddress(added);
      await addressEvent("new");
      w.a.deleteAddress(added);
      await addressEvent("delete");
      w.a.addRoute({ destination, nextHops: [{ ifindex: w.a0 }] });
      await routeEvent("new");
      w.a.deleteRoute({ destination });
      await routeEvent("delete");
    }
    w.a.setLink(w.a0, { mtu: 1400 });
    await events.until(
      (event) => event.kind === "link" && event.link.mtu === 1400 && event.link.up,
    );
    w.a.deleteLink(w.a0);
    await events.until(
      (event) => event.kind === "link" && event.change === "delete" && event.link.ifindex === w.a0,
    );
  },
);

for (const [name, add, remove] of [
  ["a rule", "ip rule add to 203.0.113.0/24 table 77", "ip rule del table 77"],
  ["an IPv6 rule", "ip -6 rule add to 2001:db8:f::/48 table 77", "ip -6 rule del table 77"],
  ["a next hop", "ip nexthop add id 7 via 192.0.2.2 dev a0", "ip nexthop del id 7"],
] as const) {
  test(`RtnetlinkEvents reports ${name} that appears and goes`, options, async () => {
    using w = world();
    using events = subscribe(w.here);
    for (const [change, command] of [
      ["new", add],
      ["delete", remove],
    ] as const) {
      w.here.run(() => execFileSync("sh", ["-c", command]));
      await events.until((event) => event.kind === "rule" && event.change === change);
    }
  });
}

test("RtnetlinkEvents says when events were lost, and goes on", options, async () => {
  using w = world();
  using events = subscribe(w.here, 4096);
  for (let count = 0; count < 200; count++) {
    w.a.setNeighbour({
      ifindex: w.a0,
      address: ip(`192.0.2.${(count % 200) + 10}`),
      mac: THERE_MAC,
    });
  }
  await events.until((event) => event.kind === "lost");
  w.a.setLink(w.a0, { mtu: 1400 });
  await events.until((event) => event.kind === "link" && event.link.mtu === 1400);
});

test("dumps of 10 000 neighbours and routes are complete", options, (context) => {
  using w = world();
  const count = 10_000;
  const time = (what: string, work: () => number): void => {
    const start = process.hrtime.bigint();
    assert.equal(work(), count);
    context.diagnostic(`${what}: ${Number(process.hrtime.bigint() - start) / 1e6} ms`);
  };
  time("add routes", () => {
    for (let index = 0; index < count; index++) {
      w.a.addRoute({
        destination: { address: manyAddress(index), length: 32 },
        nextHops: [{ ifindex: w.a0 }],
      });
    }
    return count;
  });
  time("add neighbours", () => {
    for (let index = 0; index < count; index++) {
      w.a.setNeighbour({ ifindex: w.a0, address: manyAddress(index), mac: THERE_MAC });
    }
    return count;
  });
  time(
    "list routes",
    () => w.a.routes().filter(({ destination }) => destination.length === 32).length,
  );
  time(
    "list neighbours",
    () => w.a.neighbours(4).filter(({ state }) => state === "permanent").length,
  );
  time("look up routes", () => {
    let found = 0;
    for (let index = 0; index < count; index++)
      if (w.a.route(manyAddress(index)).ifindex === w.a0) found++;
    return found;
  });
});

test("inNetns() comes back after a throw and refuses to wait", options, () => {
  using here = Netns.create();
  using home = Rtnetlink.open();
  const before = home.links().length;
  assert.throws(
    () =>
      here.run(() => {
        throw new RangeError("inside");
      }),
    RangeError,
  );
  assert.throws(() => here.run(async () => 1), TypeError);
  using after = Rtnetlink.open();
  assert.equal(after.links().length, before);
  assert.deepEqual(
    here.run(() => rtnetlinkNames()),
    ["lo"],
  );
});

test(
  "sysctl keys are those of the namespace, also of an interface with a dot in its name",
  options,
  () => {
    using w = world();
    w.a.setLink(w.a0, { up: false });
    w.a.setLink(w.a0, { name: "a0.10" });
    const key = ["net", "ipv4", "conf", "a0.10", "rp_filter"];
    w.here.run(() => writeSysctl(key, "2"));
    assert.equal(
      w.here.run(() => readSysctl(key)),
      "2",
    );
    assert.equal(readSysctl(key), undefined);
    assert.throws(
      () => writeSysctl(key, "0"),
      /^Error: Cannot set sysctl "net.ipv4.conf.a0\/10.rp_filter" to "0": ENOENT$/,
    );
  },
);

test("readFeatures() tells what can be changed from what cannot", options, () => {
  using w = world();
  w.here.run(() => setOffloads("a0", { tso: false }));
  const features = new Map(
    w.here.run(() => readFeatures("a0")).map((feature) => [feature.name, feature]),
  );
  assert.deepEqual(features.get("tx-tcp-segmentation"), {
    name: "tx-tcp-segmentation",
    active: false,
    requested: false,
    fixed: false,
  });
  // No hardware under it.
  assert.equal(features.get("rx-fcs")?.fixed, true);
});

test("setOffloads() switches what readOffloads() then shows", options, () => {
  using w = world();
  const off = {
    rxChecksum: false,
    txChecksum: false,
    scatterGather: false,
    tso: false,
    gso: false,
    gro: false,
  };
  w.here.run(() => setOffloads("a0", off));
  assert.deepEqual(
    w.here.run(() => readOffloads("a0")),
    off,
  );
  w.here.run(() => setOffloads("a0", { gro: true, txChecksum: true }));
  assert.deepEqual(
    w.here.run(() => readOffloads("a0")),
    { ...off, gro: true, txChecksum: true },
  );
  assert.throws(
    () => w.here.run(() => readOffloads("none")),
    /^Error: Cannot read offloads of "none": ENODEV$/,
  );
});

test("PacketSocket sends frames and tells arriving from leaving ones", options, async () => {
  using w = world();
  using sender = w.here.run(() => PacketSocket.open(w.a0));
  using observer = w.here.run(() => PacketSocket.open(w.a0));
  using receiver = w.there.run(() => PacketSocket.open(w.b0));
  sender.send(frame(THERE_MAC, 1));
  sender.send(frame(mac("ff:ff:ff:ff:ff:ff"), 2));
  sender.send(frame(mac("02:00:5e:00:53:99"), 3));
  const arrived = await new Promise<[string, number | undefined][]>((resolve) => {
    const frames: [string, number | undefined][] = [];
    receiver.watch((received) => {
      if (!isExperimental(received)) return;
      assert.equal(received.bytes.length, 60);
      if (frames.push([received.direction, received.bytes[20]]) === 3) resolve(frames);
    });
  });
  assert.deepEqual(arrived, [
    ["host", 1],
    ["broadcast", 2],
    ["otherhost", 3],
  ]);
  assert.deepEqual(
    observer
      .receive()
      .filter(isExperimental)
      .map(({ direction }) => direction),
    ["outgoing", "outgoing", "outgoing"],
  );
  assert.equal(receiver.dropped(), 0);
  assert.throws(() => sender.send(new Uint8Array(3)), /EINVAL/);
  assert.throws(() => PacketSocket.open(12345), /ENODEV/);
});
