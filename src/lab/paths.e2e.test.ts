/**
 * What a packet looks like at each place it passes, compared byte by byte: forwarded by `l2` only its
 * MACs change, by `ipip` it travels inside an outer header, and answers go past the director.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PacketSocket } from "../kernel/packet-socket.ts";
import { formatIp, type IpAddress, ip } from "../net/address.ts";
import { formatMac, type Mac } from "../net/mac.ts";
import { eth } from "../packet/build.ts";
import { decode } from "../packet/decode.ts";
import { assertPacket } from "../packet/format.ts";
import {
  Ethernet,
  ICMP_TIME_EXCEEDED,
  ICMPV6_TIME_EXCEED,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
  Ipv6,
  TcpFlag,
} from "../packet/headers.ts";
import type { TcpFlow } from "./flow-owner.ts";
import { Lab, LAB_DIRECTOR_CONFIG } from "./lab.ts";
import { flowsTo, skip, visit } from "./lab-fixture.ts";
import { addressOf, interfaceOf, type LabNodeName } from "./topology.ts";

const options = { skip, timeout: 60_000 };
const families = [4, 6] as const;

/** A place to look: an interface, and whether what comes in or what goes out. */
interface Place {
  readonly node: LabNodeName;
  readonly interface: string;
  readonly way: "in" | "out";
}

const places = {
  clientOut: { node: "client", interface: "eth0", way: "out" },
  toDirector: { node: "router", interface: "eth1", way: "out" },
  fromDirector: { node: "router", interface: "eth1", way: "in" },
  toBackend3: { node: "router", interface: "eth2", way: "out" },
  fromBackend3: { node: "router", interface: "eth2", way: "in" },
  backend1In: { node: "backend-1", interface: "eth0", way: "in" },
  backend1Out: { node: "backend-1", interface: "eth0", way: "out" },
} as const satisfies Record<string, Place>;
type PlaceName = keyof typeof places;

/** The handshake's first packet of a flow, and its answer. */
type Segment = "SYN" | "SYN-ACK";

/** Frames seen while `flow` was used: the first of a kind at a place. */
type Seen = (place: PlaceName, segment: Segment) => Uint8Array;

async function watch(lab: Lab, flow: TcpFlow, backend: string): Promise<Seen> {
  const frames = new Map<string, Uint8Array>();
  const sockets = Object.entries<Place>(places).map(([name, place]) => {
    const node = lab.network.nodes[place.node];
    const { ifindex } = interfaceOf(node.spec, place.interface);
    const socket = node.exec(() => PacketSocket.open(ifindex));
    socket.watch(({ direction, bytes }) => {
      if ((direction === "outgoing") !== (place.way === "out")) return;
      const segment = segmentOf(bytes, flow);
      const key = `${name} ${segment}`;
      if (segment !== null && !frames.has(key)) frames.set(key, bytes);
    });
    return socket;
  });
  try {
    assert.equal(await visit(lab, flow), backend);
  } finally {
    for (const socket of sockets) socket.close();
  }
  return (place, segment) =>
    frames.get(`${place} ${segment}`) ?? assert.fail(`no ${segment} was seen at ${place}`);
}

/** Of the innermost TCP header, when it is this flow's. */
function segmentOf(frame: Uint8Array, { clientPort, vipPort }: TcpFlow): Segment | null {
  const tcp = decode(frame).layers.find((layer) => layer.kind === "tcp");
  if (tcp === undefined) return null;
  const { sourcePort, destinationPort, flags } = tcp.header;
  if (sourcePort === clientPort && destinationPort === vipPort && flags === TcpFlag.S) return "SYN";
  const isAnswer = sourcePort === vipPort && destinationPort === clientPort;
  return isAnswer && flags === (TcpFlag.S | TcpFlag.A) ? "SYN-ACK" : null;
}

const macOf = (lab: Lab, node: LabNodeName, name = "eth0"): Mac =>
  interfaceOf(lab.network.topology.nodes[node], name).mac;

const ipPacketOf = (frame: Uint8Array): Uint8Array => frame.subarray(Ethernet.size);

/** A frame that carries the IP packet of another between two MACs. */
const carried = (source: Mac, destination: Mac, frame: Uint8Array): Uint8Array =>
  eth(source, destination).raw(Ethernet.read(frame).etherType, ipPacketOf(frame));

/** What a router makes of an IP packet: one hop less. */
function routed(packet: Uint8Array): Uint8Array {
  const next = packet.slice();
  const view = new DataView(next.buffer);
  if (next[0] === undefined) return next;
  if (next[0] >> 4 === 6) {
    view.setUint8(7, view.getUint8(7) - 1);
    return next;
  }
  view.setUint8(8, view.getUint8(8) - 1);
  // RFC 1624 §3, eqn. 3: the word with the TTL became smaller by 0x0100.
  const sum = view.getUint16(10) + 0x0100;
  view.setUint16(10, (sum & 0xffff) + (sum >> 16));
  return next;
}

interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sourceMac: string;
  readonly destinationMac: string;
  /** Layers between Ethernet and TCP: one, when nothing is encapsulated. */
  readonly ipHeaders: number;
}

function endsOf(frame: Uint8Array): Ends {
  const { layers } = decode(frame);
  const { source, destination } = Ethernet.read(frame);
  const headers = layers.filter(({ kind }) => kind === "ipv4" || kind === "ipv6");
  const isV6 = headers[0]?.kind === "ipv6";
  const packet = ipPacketOf(frame);
  const address = (at: number): string => {
    const bytes = packet.slice(at, at + (isV6 ? 16 : 4));
    return formatIp({ family: isV6 ? 6 : 4, bytes } satisfies IpAddress);
  };
  return {
    source: address(isV6 ? 8 : 12),
    destination: address(isV6 ? 24 : 16),
    sourceMac: formatMac(source),
    destinationMac: formatMac(destination),
    ipHeaders: headers.length,
  };
}

test("l2: only the MACs change, and the answer goes to the gateway", options, async (context) => {
  const lab = await Lab.start();
  try {
    const flowTo = await flowsTo(lab);
    for (const family of families) {
      await context.test(`IPv${family}`, async () => {
        const flow = flowTo("web-1", family);
        const seen = await watch(lab, flow, "web-1");
        const sent = seen("clientOut", "SYN");
        const [router, director] = [macOf(lab, "router", "eth1"), macOf(lab, "director")];
        // Client to router, router to director, director to backend.
        assert.deepEqual(endsOf(sent), {
          source: flow.client,
          destination: flow.vip,
          sourceMac: formatMac(macOf(lab, "client")),
          destinationMac: formatMac(macOf(lab, "router")),
          ipHeaders: 1,
        });
        const arriving = seen("toDirector", "SYN");
        const hop = eth(router, director).raw(
          Ethernet.read(sent).etherType,
          routed(ipPacketOf(sent)),
        );
        assertPacket(arriving, hop);
        assertPacket(
          seen("backend1In", "SYN"),
          carried(director, macOf(lab, "backend-1"), arriving),
        );
        assert.deepEqual(endsOf(seen("backend1Out", "SYN-ACK")), {
          source: flow.vip,
          destination: flow.client,
          sourceMac: formatMac(macOf(lab, "backend-1")),
          destinationMac: formatMac(router),
          ipHeaders: 1,
        });
      });
    }
    const { reasons } = await lab.status();
    context.diagnostic(`forwarded ${reasons["forwarded"]?.packets}`);
  } finally {
    await lab.close();
  }
});

for (const outer of families) {
  test(
    `ipip over IPv${outer}: the inner packet is untouched but for its TTL, the answer is not encapsulated`,
    options,
    async (context) => {
      const folder = mkdtempSync(join(tmpdir(), "carom-lab-"));
      const file = join(folder, "director.yaml");
      const example = readFileSync(LAB_DIRECTOR_CONFIG, "utf8");
      const address = outer === 4 ? "203.0.113.13" : "2001:db8:3::13";
      writeFileSync(file, example.replace("address: 203.0.113.13", `address: "${address}"`));
      const lab = await Lab.start({ directorConfig: file });
      try {
        const flowTo = await flowsTo(lab);
        const { nodes } = lab.network.topology;
        const source = formatIp(addressOf(nodes.director, outer));
        for (const inner of families) {
          await context.test(`IPv${inner} inside`, async () => {
            const flow = flowTo("web-3", inner);
            const seen = await watch(lab, flow, "web-3");
            const inside = routed(ipPacketOf(seen("toDirector", "SYN")));
            const protocol = inner === 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
            const macs = [macOf(lab, "director"), macOf(lab, "router", "eth1")] as const;
            const left = seen("fromDirector", "SYN");
            const expected =
              outer === 4
                ? eth(...macs).ipv4(source, address)
                : eth(...macs).ipv6(source, address, {
                    // The flow label is the flow's hash; the datapath's own tests compute it.
                    versionClassFlow: Ipv6.read(ipPacketOf(left)).versionClassFlow,
                  });
            assertPacket(left, expected.raw(protocol, inside));
            assertPacket(
              seen("toBackend3", "SYN"),
              eth(macOf(lab, "router", "eth2"), macOf(lab, "backend-3")).raw(
                Ethernet.read(left).etherType,
                routed(ipPacketOf(left)),
              ),
            );
            assert.deepEqual(endsOf(seen("fromBackend3", "SYN-ACK")), {
              source: formatIp(ip(flow.vip)),
              destination: flow.client,
              sourceMac: formatMac(macOf(lab, "backend-3")),
              destinationMac: formatMac(macOf(lab, "router", "eth2")),
              ipHeaders: 1,
            });
          });
        }
      } finally {
        await lab.close();
        rmSync(folder, { recursive: true });
      }
    },
  );
}

test(
  "traceroute shows the director: it answers a packet whose TTL ends there",
  options,
  async () => {
    const lab = await Lab.start();
    try {
      const flowTo = await flowsTo(lab);
      const { client } = lab.network.nodes;
      const macs = [macOf(lab, "client"), macOf(lab, "router")] as const;
      for (const family of families) {
        // Forwarded by `ipip`, which routes; `l2` leaves the TTL as a switch does.
        const flow = flowTo("web-3", family);
        const own = formatIp(addressOf(lab.network.topology.nodes.director, family));
        const { ifindex } = interfaceOf(client.spec, "eth0");
        const socket = client.exec(() => PacketSocket.open(ifindex));
        const ports = { sourcePort: flow.clientPort, destinationPort: flow.vipPort, flags: "S" };
        // The router takes one hop, the director would take the other.
        const probe =
          family === 4
            ? eth(...macs)
                .ipv4(flow.client, flow.vip, { ttl: 2 })
                .tcp(ports)
            : eth(...macs)
                .ipv6(flow.client, flow.vip, { hopLimit: 2 })
                .tcp(ports);
        const answer = new Promise<Uint8Array>((resolve) => {
          socket.watch(({ direction, bytes }) => {
            const type = family === 4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEED;
            const isAnswer = decode(bytes).layers.some(
              (layer) =>
                layer.kind === (family === 4 ? "icmp" : "icmpv6") && layer.header.type === type,
            );
            if (direction !== "outgoing" && isAnswer) resolve(bytes);
          });
        });
        socket.send(probe);
        assert.equal(endsOf(await answer).source, own);
        socket.close();
      }
      const { reasons } = await lab.status();
      assert.equal(reasons["time_exceeded"]?.packets, 2);
    } finally {
      await lab.close();
    }
  },
);
