/** Removes what an instance left behind, for both roles, whatever ended its daemons. */
import { existsSync, rmSync } from "node:fs";
import { removeIfEmpty, takeTurn } from "../api/serve.ts";
import { restoreAgentHost } from "../apply/agent-host.ts";
import { releaseAllNeighbours } from "../apply/neighbours.ts";
import { removePins } from "../apply/remove-pins.ts";
import { deviceName } from "../kernel/device-name.ts";
import { listPins } from "../kernel/pins.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { formatIp } from "../net/address.ts";
import {
  agentStateFile,
  PIN_ROOT,
  pinFolder,
  type Role,
  runFolder,
  socketPath,
} from "./instance.ts";
import { runningPid } from "./running.ts";
import { StartError } from "./start-error.ts";

const roles: readonly Role[] = ["director", "agent"];

export interface TeardownDeps {
  /** Told what was done, a line each, as soon as it is. */
  readonly report: (line: string) => void;
}

/**
 * Programs first, then neighbours that the last director here kept, then VIPs, then sysctls. Doing it
 * again finds nothing.
 * @throws {StartError} while a daemon of the instance runs; nothing was changed
 * @throws {Error} when the kernel refuses; doing it again goes on from there
 */
export async function teardown(instance: string, { report }: TeardownDeps): Promise<void> {
  // None starts meanwhile: a daemon changes nothing before it has its socket.
  const folder = runFolder(instance);
  const turn = existsSync(folder) ? await takeTurn(folder) : null;
  try {
    await tearDown(instance, report);
  } finally {
    if (turn !== null) removeIfEmpty(folder);
    turn?.end();
  }
}

async function tearDown(instance: string, report: TeardownDeps["report"]): Promise<void> {
  const problems: string[] = [];
  for (const role of roles) {
    const pid = await runningPid(instance, role);
    if (pid === null) continue;
    problems.push(
      `Cannot tear down "${instance}": its ${role} runs (pid ${pid}); stop it first, with "kill ${pid}" or "systemctl stop"`,
    );
  }
  if (problems.length > 0) throw new StartError(problems);

  for (const role of roles) removePins(pinFolder(instance, role)).forEach(report);
  if (!othersDirect(instance)) {
    using rtnetlink = Rtnetlink.open();
    for (const { ifindex, neighbour } of releaseAllNeighbours(rtnetlink)) {
      report(`gave neighbour ${formatIp(neighbour)} on ${deviceName(ifindex)} back to the kernel`);
    }
  }
  const stateFile = agentStateFile(instance);
  if (existsSync(stateFile)) {
    using rtnetlink = Rtnetlink.open();
    for (const { kind, text } of restoreAgentHost(stateFile, rtnetlink)) {
      report(`${kind}: ${text}`);
    }
    report(`removed ${stateFile}`);
  }
  for (const path of roles.map((role) => socketPath(instance, role))) {
    if (!existsSync(path)) continue;
    rmSync(path);
    report(`removed ${path}`);
  }
}

/** Whether another instance forwards here: neighbours do not say which instance keeps them. */
const othersDirect = (instance: string): boolean =>
  existsSync(PIN_ROOT) &&
  listPins(PIN_ROOT).some(
    (other) => other !== instance && existsSync(pinFolder(other, "director")),
  );
