/** Packets for people: a line per layer, what is wrong with it, then hex. And their comparison in tests. */
import { AssertionError } from "node:assert";
import { formatIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import { decode, type Layer } from "./decode.ts";
import { IP_DF, IP_MF, IP_OFFSET, IP6_MF, IP6_OFFSET, Ipv4, TcpFlag } from "./headers.ts";

/** A line a layer, a line a problem (`!`), and the bytes in hex, 16 a line. */
export function formatPacket(packet: Uint8Array, from?: "ethernet" | "ip"): string {
  const { layers, problems } = decode(packet, from);
  return [
    ...layers.map((layer, depth) => `${"  ".repeat(depth)}${formatLayer(layer)}`),
    ...problems.map((problem) => `! ${problem}`),
    ...hexLines(packet),
  ].join("\n");
}

/**
 * Compares whole packets.
 * @throws {AssertionError} that shows both, and where the first difference is
 */
export function assertPacket(
  actual: Uint8Array,
  expected: Uint8Array,
  from?: "ethernet" | "ip",
): void {
  const at = firstDifference(actual, expected);
  if (at === null) return;
  throw new AssertionError({
    message: [
      `Packets differ from byte ${at} (0x${at.toString(16).padStart(4, "0")})`,
      `actual, ${actual.length} bytes:`,
      formatPacket(actual, from),
      `expected, ${expected.length} bytes:`,
      formatPacket(expected, from),
    ].join("\n"),
    operator: "assertPacket",
    stackStartFn: assertPacket,
  });
}

/** One line: what distinguishes this layer, lengths included. Addresses are `source > destination`. */
export function formatLayer(layer: Layer): string {
  switch (layer.kind) {
    case "ethernet": {
      const { source, destination, etherType } = layer.header;
      return `ethernet ${formatMac(source)} > ${formatMac(destination)} type 0x${hex(etherType, 4)}`;
    }
    case "vlan": {
      const { control, etherType } = layer.header;
      return `vlan ${control & 0xfff} priority ${control >> 13} type 0x${hex(etherType, 4)}`;
    }
    case "ipv4":
      return formatIpv4(layer);
    case "ipv6": {
      const { header } = layer;
      const [trafficClass, flow] = [
        (header.versionClassFlow >>> 20) & 0xff,
        header.versionClassFlow & 0xfffff,
      ];
      return (
        `ipv6 ${ipText(header.source)} > ${ipText(header.destination)} next ${header.nextHeader}` +
        ` hops ${header.hopLimit} payload ${header.payloadLength}` +
        ` class 0x${hex(trafficClass, 2)} flow 0x${hex(flow, 5)}`
      );
    }
    case "extension":
      return `extension ${layer.protocol} of ${layer.sizeBytes} bytes`;
    case "fragment": {
      const { nextHeader, offsetFlags, identification } = layer.header;
      const more = (offsetFlags & IP6_MF) === 0 ? "" : " more";
      return `fragment next ${nextHeader} offset ${offsetFlags & IP6_OFFSET}${more} id ${identification}`;
    }
    case "tcp": {
      const { header, options } = layer;
      return (
        `tcp ${header.sourcePort} > ${header.destinationPort} [${flagLetters(header.flags)}]` +
        ` sequence ${header.sequence} acknowledgement ${header.acknowledgement}` +
        ` window ${header.window} checksum 0x${hex(header.checksum, 4)}${optionText(options)}`
      );
    }
    case "udp": {
      const { sourcePort, destinationPort, length, checksum } = layer.header;
      return `udp ${sourcePort} > ${destinationPort} length ${length} checksum 0x${hex(checksum, 4)}`;
    }
    case "icmp":
    case "icmpv6": {
      const { type, code, checksum, rest } = layer.header;
      return `${layer.kind} type ${type} code ${code} rest 0x${hex(rest, 8)} checksum 0x${hex(checksum, 4)}`;
    }
    case "payload":
    case "trailer":
      return `${layer.kind} of ${layer.bytes.length} bytes`;
  }
}

function formatIpv4({ header, options }: Extract<Layer, { kind: "ipv4" }>): string {
  const addresses = Ipv4.encode(header).subarray(Ipv4.offsets.source);
  const fragment = header.flagsFragment;
  const flags = [
    ...((fragment & IP_DF) === 0 ? [] : [" DF"]),
    ...((fragment & IP_MF) === 0 ? [] : [" MF"]),
    ...((fragment & IP_OFFSET) === 0 ? [] : [` offset ${(fragment & IP_OFFSET) * 8}`]),
  ];
  return (
    `ipv4 ${ipText(addresses.subarray(0, 4))} > ${ipText(addresses.subarray(4))}` +
    ` protocol ${header.protocol} ttl ${header.ttl} total ${header.totalLength}` +
    ` tos 0x${hex(header.tos, 2)} id ${header.identification}${flags.join("")}` +
    ` checksum 0x${hex(header.checksum, 4)}${optionText(options)}`
  );
}

function firstDifference(actual: Uint8Array, expected: Uint8Array): number | null {
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  if (at !== -1) return at;
  return actual.length === expected.length ? null : actual.length;
}

function hexLines(packet: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < packet.length; at += 16) {
    const row = Array.from(packet.subarray(at, at + 16), (byte) => hex(byte, 2));
    lines.push(`${hex(at, 4)}  ${row.join(" ")}`);
  }
  return lines;
}

const flagLetters = (flags: number): string =>
  Object.entries(TcpFlag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([letter]) => letter)
    .join("");

const optionText = (options: Uint8Array): string =>
  options.length === 0 ? "" : ` options ${Array.from(options, (byte) => hex(byte, 2)).join("")}`;

const ipText = (bytes: Uint8Array): string =>
  formatIp({ family: bytes.length === 4 ? 4 : 6, bytes });

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
