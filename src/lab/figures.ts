/** Numbers for people. Pure. */

/** `12 345`, with a space that does not break. */
export const formatCount = (value: number): string =>
  Math.round(value)
    .toString()
    .replaceAll(/\B(?=(\d{3})+$)/g, " ");

/** Decimal units, three digits: `1.23 GB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** 0 to 1 as `12.3 %`. */
export const formatShare = (share: number): string => `${(100 * share).toFixed(1)} %`;

export const formatSeconds = (seconds: number): string => `${seconds.toFixed(1)} s`;
