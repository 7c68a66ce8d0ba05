/** The name of a network device by its index, for messages. */
import { call, memory, SystemError } from "./libc.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
// include/uapi/linux/sockios.h. Sysfs would show the namespace it was mounted in, not this one.
const SIOCGIFNAME = 0x8910;

/** `eth0`, or `interface 7` when there is no such device. */
export const deviceName = (ifindex: number): string =>
  findDeviceName(ifindex) ?? `interface ${ifindex}`;

/** `eth0`, or null when the calling thread's network namespace has no such device. */
export function findDeviceName(ifindex: number): string | null {
  const request = memory(40);
  new DataView(request.buffer).setInt32(16, ifindex, true);
  try {
    const fd = call("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    try {
      call("ioctl", fd, SIOCGIFNAME, request);
    } finally {
      call("close", fd);
    }
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
  return Buffer.from(request.subarray(0, request.indexOf(0))).toString("latin1");
}
