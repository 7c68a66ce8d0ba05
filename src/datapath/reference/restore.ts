/** What an agent makes of a packet that a director readdressed (`forward.ts`): the VIP is its destination again. */
import type { DscpAddress } from "../../model/model.ts";
import type { IpAddress } from "../../net/address.ts";
import { sameIp } from "../../net/address.ts";
import { updateChecksum } from "../../packet/checksum.ts";
import {
  IP_MF,
  IP_OFFSET,
  IPPROTO_TCP,
  IPPROTO_UDP,
  Ipv4,
  Ipv6,
  Tcp,
  Udp,
} from "../../packet/headers.ts";
import type { AgentReason } from "../reasons.ts";

/** The IP packet with its VIP, or why it is left as it is. `ip` has a whole header of its family. */
export function restored(
  ip: Uint8Array,
  family: 4 | 6,
  dscp: readonly DscpAddress[],
): Uint8Array | AgentReason {
  const header = family === 4 ? readIpv4(ip) : readIpv6(ip);
  if (header === null) return "not_encapsulated";
  const { protocol, codePoint, destination, headerBytes, length } = header;
  if (protocol !== IPPROTO_TCP && protocol !== IPPROTO_UDP) return "not_encapsulated";
  const vip = dscp.find(({ address }) => sameIp(address, destination))?.vips[codePoint - 1];
  if (codePoint === 0 || vip === undefined) return "not_encapsulated";
  const transport = headerBytes + (protocol === IPPROTO_TCP ? Tcp.size : Udp.size);
  if (length > ip.length || transport > length || transport > ip.length) return "malformed";

  const changed = ip.slice();
  const at = family === 4 ? 16 : 24;
  changed.set(vip.bytes, at);
  if (family === 4) {
    changed[1] = (ip[1] ?? 0) & 3;
    const covered = [0, 1, 16, 17, 18, 19];
    const pick = (bytes: Uint8Array): Uint8Array =>
      Uint8Array.from(covered, (index) => bytes[index] ?? 0);
    const checksum = updateChecksum(Ipv4.read(ip).checksum, pick(ip), pick(changed));
    Ipv4.write(changed, { checksum });
  } else {
    const { versionClassFlow } = Ipv6.read(ip);
    Ipv6.write(changed, { versionClassFlow: (versionClassFlow & ~(0xfc << 20)) >>> 0 });
  }
  const fieldAt = headerBytes + (protocol === IPPROTO_TCP ? Tcp : Udp).offsets.checksum;
  const view = new DataView(changed.buffer);
  const before = view.getUint16(fieldAt);
  if (protocol === IPPROTO_UDP && before === 0) return changed;
  const after = updateChecksum(before, ip.slice(at, at + vip.bytes.length), vip.bytes);
  // RFC 768: 0 would say that there is none.
  view.setUint16(fieldAt, protocol === IPPROTO_UDP && after === 0 ? 0xffff : after);
  return changed;
}

interface Header {
  readonly protocol: number;
  readonly codePoint: number;
  readonly destination: IpAddress;
  readonly headerBytes: number;
  readonly length: number;
}

function readIpv4(ip: Uint8Array): Header | null {
  const { versionIhl, tos, protocol, flagsFragment, totalLength } = Ipv4.read(ip);
  const headerBytes = (versionIhl & 0xf) * 4;
  if (versionIhl >> 4 !== 4 || headerBytes < Ipv4.size) return null;
  if ((flagsFragment & (IP_MF | IP_OFFSET)) !== 0) return null;
  const destination: IpAddress = { family: 4, bytes: ip.slice(16, 20) };
  return { protocol, codePoint: tos >> 2, destination, headerBytes, length: totalLength };
}

function readIpv6(ip: Uint8Array): Header {
  const { versionClassFlow, nextHeader, payloadLength, destination } = Ipv6.read(ip);
  return {
    protocol: nextHeader,
    codePoint: (versionClassFlow >>> 22) & 0x3f,
    destination: { family: 6, bytes: destination.slice() },
    headerBytes: Ipv6.size,
    length: Ipv6.size + payloadLength,
  };
}
