/**
 * Offloads of an interface, by the ioctl that every kernel has (include/uapi/linux/ethtool.h). The
 * interface is looked up in the thread's network namespace (`inNetns`).
 */
import { addressOf, call, memory, SystemError } from "./libc.ts";

const SIOCETHTOOL = 0x8946;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
const IFNAMSIZ = 16;
const ETH_GSTRING_LEN = 32;

const ETHTOOL_GSTRINGS = 0x1b;
const ETHTOOL_GSSET_INFO = 0x37;
const ETHTOOL_GFEATURES = 0x3a;
const ETH_SS_FEATURES = 4;

/** Each with its ETHTOOL_G… and ETHTOOL_S… command. */
const commands = {
  rxChecksum: { get: 0x14, set: 0x15 },
  txChecksum: { get: 0x16, set: 0x17 },
  scatterGather: { get: 0x18, set: 0x19 },
  tso: { get: 0x1e, set: 0x1f },
  gso: { get: 0x23, set: 0x24 },
  gro: { get: 0x2b, set: 0x2c },
} as const;

/** `tso` covers IPv4 and IPv6; without `txChecksum` the kernel turns it off by itself. */
export type Offload = keyof typeof commands;
export type Offloads = Readonly<Record<Offload, boolean>>;

/** A driver's feature by the kernel's own name (`tx-checksum-ip-generic`, `rx-vlan-hw-parse` …). */
export interface EthernetFeature {
  readonly name: string;
  readonly active: boolean;
  readonly requested: boolean;
  /** The driver does not let it be changed: not changeable at all, or never. */
  readonly fixed: boolean;
}

/** @throws {Error} when there is no such interface or its driver does not tell, with the SystemError as cause */
export function readOffloads(name: string): Offloads {
  return withDevice(name, "read offloads of", (command) => {
    const state = (offload: Offload): boolean => {
      const value = words(commands[offload].get, 0);
      command(value);
      return word(value, 4) !== 0;
    };
    return {
      rxChecksum: state("rxChecksum"),
      txChecksum: state("txChecksum"),
      scatterGather: state("scatterGather"),
      tso: state("tso"),
      gso: state("gso"),
      gro: state("gro"),
    };
  });
}

/**
 * Switches the given offloads; one that is so already is left alone, since drivers refuse to touch
 * what they cannot change (veth: segmentation, when the peer has a native XDP program).
 * @throws {Error} when the driver refuses one, with the SystemError as cause
 */
export function setOffloads(name: string, offloads: Partial<Offloads>): void {
  withDevice(name, "set offloads of", (command) => {
    for (const [offload, on] of Object.entries(offloads)) {
      const { get, set } = commands[offload as Offload];
      const current = words(get, 0);
      command(current);
      if ((word(current, 4) !== 0) !== on) command(words(set, on ? 1 : 0));
    }
  });
}

/** All features of the driver. @throws {Error} as `readOffloads` */
export function readFeatures(name: string): EthernetFeature[] {
  return withDevice(name, "read features of", (command) => {
    const info = words(ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0);
    command(info);
    const count = word(info, 16);

    const strings = memory(12 + count * ETH_GSTRING_LEN);
    setWords(strings, ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count);
    command(strings);

    // Blocks of 32 features: available, requested, active, never changed.
    const blocks = Math.ceil(count / 32);
    const state = memory(8 + blocks * 16);
    setWords(state, ETHTOOL_GFEATURES, blocks);
    command(state);

    const features: EthernetFeature[] = [];
    for (let index = 0; index < count; index++) {
      const at = 12 + index * ETH_GSTRING_LEN;
      const text = new TextDecoder().decode(strings.subarray(at, at + ETH_GSTRING_LEN));
      const feature = text.replace(/\0.*$/s, "");
      if (feature === "") continue;
      const block = 8 + (index >> 5) * 16;
      const has = (field: number): boolean =>
        ((word(state, block + field) >>> (index & 31)) & 1) === 1;
      features.push({
        name: feature,
        active: has(8),
        requested: has(4),
        fixed: !has(0) || has(12),
      });
    }
    return features;
  });
}

function withDevice<T>(
  name: string,
  action: string,
  work: (command: (data: Uint8Array) => void) => T,
): T {
  const nameBytes = new TextEncoder().encode(name);
  if (nameBytes.length === 0 || nameBytes.length >= IFNAMSIZ) {
    throw new TypeError(`Not an interface name: "${name}"`);
  }
  const fd = call("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    return work((data) => {
      // struct ifreq: the name, then a union of which ethtool uses the pointer.
      const request = memory(40);
      request.set(nameBytes);
      new DataView(request.buffer).setBigUint64(IFNAMSIZ, addressOf(data), true);
      call("ioctl", fd, SIOCETHTOOL, request);
    });
  } catch (cause) {
    const reason = cause instanceof SystemError ? cause.code : String(cause);
    throw new Error(`Cannot ${action} "${name}": ${reason}`, { cause });
  } finally {
    call("close", fd);
  }
}

function words(...values: number[]): Uint8Array {
  const bytes = memory(values.length * 4);
  setWords(bytes, ...values);
  return bytes;
}

function setWords(bytes: Uint8Array, ...values: number[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value, true);
}

const word = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
