/** Key files: read once, whole, and only if nobody else can. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { faultText } from "./fault.ts";

/** The content, or why there is none: the end of a sentence, never with a byte of the content. */
export type SecretReading =
  | { readonly kind: "read"; readonly bytes: Uint8Array }
  | { readonly kind: "refused"; readonly reason: string };
export type ReadSecret = (file: string) => SecretReading;

const secretMaxBytes = 4096;

/** Reads a small regular file that neither group nor others can read or write. */
export function readSecret(file: string): SecretReading {
  let fd: number | undefined;
  try {
    // Without O_NONBLOCK a FIFO by that name would stop the process until somebody writes.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { kind: "refused", reason: "not a regular file" };
    if ((stat.mode & 0o066) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
      return {
        kind: "refused",
        reason: `its mode ${mode} lets group or others at it; chmod 0600 it`,
      };
    }
    const bytes = new Uint8Array(secretMaxBytes);
    const sizeBytes = readSync(fd, bytes, 0, secretMaxBytes, 0);
    return { kind: "read", bytes: bytes.slice(0, sizeBytes) };
  } catch (cause) {
    return { kind: "refused", reason: faultText(cause) };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A hash key of 32 bytes: raw, or as 64 hex digits with or without a line end. */
export function decodeHashKey(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length === 32) return bytes.slice();
  const text = Buffer.from(bytes).toString("latin1");
  if (!/^[0-9a-f]{64}\r?\n?$/i.test(text)) return undefined;
  return Uint8Array.from(Buffer.from(text.slice(0, 64), "hex"));
}
