/** Ethernet addresses: 6 bytes, as on the wire. */
export type Mac = Uint8Array;

/** Parses `02:00:5e:00:53:01`; `undefined` when it is not a MAC. */
export function parseMac(text: string): Mac | undefined {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}

/**
 * Parses a MAC that the caller knows to be one.
 * @throws {TypeError} when it is not
 */
export function mac(text: string): Mac {
  const address = parseMac(text);
  if (address === undefined) throw new TypeError(`Not a MAC address: "${text}"`);
  return address;
}

export const formatMac = (address: Mac): string =>
  Array.from(address, (byte) => byte.toString(16).padStart(2, "0")).join(":");
