/** Takes away all that an instance pinned for a role, whichever runs left it. */
import { existsSync, rmdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { deviceName } from "../kernel/device-name.ts";
import { openLink } from "../kernel/links.ts";
import { listPins, removePin } from "../kernel/pins.ts";

/**
 * Detaches the links pinned in `folder`, then removes it with everything in it, and the two folders
 * above it when nothing else is in them. Returns what it did, as sentences without a subject; nothing
 * when there is no such folder. Blocks for tens of milliseconds a link.
 * @throws {KernelError} when a link cannot be detached; what was done before stays done
 */
export function removePins(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const done: string[] = [];
  for (const name of listPins(folder).filter((entry) => /^link_\d+$/.test(entry))) {
    const path = `${folder}/${name}`;
    using link = openLink(path);
    const { ifindex } = link.info();
    // Detached by its device's end: only the pin is left.
    if (ifindex !== 0) link.detach();
    removePin(path);
    done.push(
      ifindex === 0
        ? `removed ${path}, the link of an interface that is gone`
        : `detached the program from ${deviceName(ifindex)}`,
    );
  }
  const left = listPins(folder).map((entry) => `${folder}/${entry}`);
  for (const path of left) {
    rmSync(path, { recursive: true });
    done.push(`removed ${path}`);
  }
  rmdirSync(folder);
  done.push(`removed ${folder}`);
  removeIfEmpty(dirname(folder));
  removeIfEmpty(dirname(dirname(folder)));
  return done;
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}
