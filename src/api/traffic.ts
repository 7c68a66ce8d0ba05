/** Packets and bytes as the APIs give them. */

/**
 * Numbers, which JSON readers take as they are. Exact up to 2^53: at 100 million packets a second that
 * is three years of packets, at 100 Gbit/s eight days of bytes; beyond, the last digits are rounded.
 */
export interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

/** A counter of the kernel's, 64 bits; none counted nothing. */
export const trafficOf = (
  counter: { readonly packets: bigint; readonly bytes: bigint } | undefined,
): Traffic => ({
  packets: Number(counter?.packets ?? 0n),
  bytes: Number(counter?.bytes ?? 0n),
});
