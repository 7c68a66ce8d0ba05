/**
 * Runs a command under another kernel: QEMU without hardware virtualisation, which runs anywhere and takes
 * ten times as long, this machine's files as the guest's root, and what the guest writes thrown away.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DebianKernel } from "./debian-kernel.ts";

export interface GuestOptions {
  readonly command: string;
  readonly timeLimitMs: number;
  /** Called with what the command prints, as it comes. */
  readonly onOutput: (text: string) => void;
}

/** The command's exit code; `null` when the guest ended or was ended before it. */
export async function runInGuest(
  kernel: DebianKernel,
  { command, timeLimitMs, onOutput }: GuestOptions,
): Promise<number | null> {
  const folder = mkdtempSync(join(tmpdir(), "carom-guest-"));
  const [output, console] = [join(folder, "output"), join(folder, "console")];
  const words = [
    "console=ttyS0 panic=-1 loglevel=4 mitigations=off net.ifnames=0",
    `carom.modules=${kernel.modules}`,
    `carom.command=${Buffer.from(command).toString("base64")}`,
  ];
  const child = spawn(
    "qemu-system-x86_64",
    [
      ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"],
      ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
      ["-kernel", kernel.image, "-initrd", kernel.initrd, "-append", words.join(" ")],
      ["-serial", `file:${console}`, "-device", "virtio-rng-pci"],
      ["-device", "virtio-serial-pci", "-chardev", `file,id=out,path=${output}`],
      ["-device", "virtserialport,chardev=out,name=out"],
      ["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"],
      ["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"],
    ].flat(),
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const timer = setTimeout(() => child.kill("SIGKILL"), timeLimitMs);
  const stop = (): void => void child.kill("SIGKILL");
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    const said = await follow(output, ended, onOutput);
    const [, code] = /^guest: exit code (\d+)\s*$/m.exec(said) ?? [];
    if (code !== undefined) return Number(code);
    process.stderr.write(`${readFileSync(console, "utf8").split("\n").slice(-40).join("\n")}\n`);
    return null;
  } finally {
    clearTimeout(timer);
    process.off("SIGINT", stop).off("SIGTERM", stop);
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

const LOOK_AGAIN_MS = 200;

/** Reads a file that grows, until `ended` and to its end. */
async function follow(
  file: string,
  ended: Promise<void>,
  onOutput: (text: string) => void,
): Promise<string> {
  let isOver = false;
  void ended.then(() => (isOver = true));
  let said = "";
  let at = 0;
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    const last = isOver;
    const handle = await open(file, "r").catch(() => null);
    if (handle !== null) {
      for (;;) {
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) break;
        at += bytesRead;
        const text = buffer.toString("utf8", 0, bytesRead);
        said += text;
        onOutput(text);
      }
      await handle.close();
    }
    if (last) return said;
    await delay(LOOK_AGAIN_MS);
  }
}
