/** Versions of kernels, for what no probe can tell. */

export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

/**
 * Reads a release such as `6.18.44-1-generic` (uname -r).
 * @throws {RangeError} when it does not start with two numbers
 */
export function parseKernelVersion(release: string): KernelVersion {
  const match = /^(\d+)\.(\d+)/.exec(release);
  if (!match) throw new RangeError(`Cannot read kernel release "${release}": no version in it`);
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** Whether `version` is `major.minor` or newer. */
export const isAtLeast = (version: KernelVersion, major: number, minor: number): boolean =>
  version.major > major || (version.major === major && version.minor >= minor);
