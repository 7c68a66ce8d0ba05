/**
 * The kernel process: does one call after the other, each of which may block for a hundred
 * milliseconds. It keeps nothing between calls, so that a new one can take over at any time, and
 * ends when the channel to its parent closes, however the parent ended.
 */
import { KernelError, toPlainError } from "./errors.ts";
import { waitGracePeriod } from "./grace-period.ts";
import type {
  Answer,
  AttachTcxOptions,
  AttachXdpOptions,
  CallName,
  Calls,
  LoadedProgram,
  LoadProgramOptions,
  ReplaceProgramOptions,
  Request,
} from "./kernel-process-protocol.ts";
import type { BpfLink } from "./links.ts";
import { attachTcx, attachXdp, openLink } from "./links.ts";
import type { BpfMap } from "./maps.ts";
import { openMap } from "./maps.ts";
import { openPin, pin, removePin, replacePin } from "./pins.ts";
import { BpfProgram, loadProgram } from "./programs.ts";

type Handlers = { readonly [Name in CallName]: (options: Calls[Name]["in"]) => Calls[Name]["out"] };

const handlers: Handlers = {
  loadProgram: load,
  attachXdp: attachToXdp,
  attachTcx: attachToTcx,
  replaceProgram: replace,
  detach: ({ linkPin }) => {
    using link = openLink(linkPin);
    link.detach();
    removePin(linkPin);
  },
  gracePeriod: () => waitGracePeriod(),
};

function load({ image, maps, pin, fragments }: LoadProgramOptions): LoadedProgram {
  const opened = new Map<string, BpfMap>();
  try {
    using program = loadProgram(
      image,
      (spec) => {
        const known = opened.get(spec.name);
        if (known) return known.fd;
        const path = maps[spec.name];
        if (path === undefined) {
          throw new RangeError(
            `Cannot load program "${image.name}": no pin given for its map "${spec.name}"`,
          );
        }
        const map = openMap(path, spec);
        opened.set(spec.name, map);
        return map.fd;
      },
      { fragments: fragments ?? false },
    );
    const { id, verifiedInstructions, xlatedBytes, jitedBytes } = program.info();
    replacePin(program.fd, pin);
    return { id, verifiedInstructions, xlatedBytes, jitedBytes };
  } finally {
    for (const map of opened.values()) map.close();
  }
}

function attachToXdp({ ifindex, programPin, linkPin, mode }: AttachXdpOptions): void {
  using program = openProgram(programPin);
  pinLink(attachXdp({ programFd: program.fd, ifindex, mode }), linkPin);
}

function attachToTcx({ ifindex, programPin, linkPin, direction }: AttachTcxOptions): void {
  using program = openProgram(programPin);
  pinLink(attachTcx({ programFd: program.fd, ifindex, direction }), linkPin);
}

/** Leaves the link to its pin; if it cannot be pinned the program leaves the device again. */
function pinLink(link: BpfLink, path: string): void {
  try {
    pin(link.fd, path);
  } finally {
    link.close();
  }
}

function replace({ linkPin, programPin, expectedProgramPin }: ReplaceProgramOptions): void {
  using link = openLink(linkPin);
  using program = openProgram(programPin);
  if (expectedProgramPin === undefined) return link.update(program.fd);
  using expected = openProgram(expectedProgramPin);
  link.update(program.fd, expected.fd);
}

const openProgram = (path: string): BpfProgram => new BpfProgram(openPin(path), path);

function answer<Name extends CallName>({ id, call, options }: Request<Name>): Answer {
  try {
    return { kind: "result", id, value: handlers[call](options) };
  } catch (error) {
    if (error instanceof KernelError) return { kind: "fault", id, error: toPlainError(error) };
    return { kind: "bug", id, error: error instanceof Error ? error : new Error(String(error)) };
  }
}

// Sent to the whole process group on Ctrl-C and by systemd: the parent decides when the end comes.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));
process.on("message", (request: Request) => send(answer(request)));
send({ kind: "ready" });

function send(message: Answer): void {
  // Nobody listens any more when it fails: "disconnect" comes next.
  process.send?.(message, undefined, undefined, () => {});
}
