/** Reads what decides whether a director can start here, and refuses with every reason at once. */
import { ownLinks } from "../apply/generation.ts";
import { BPFFS, isOnBpffs } from "../kernel/pins.ts";
import { possibleCpuLimit } from "../kernel/possible-cpus.ts";
import { readMachineFacts, unmetRequirement } from "../kernel/requirements.ts";
import type { Rtnetlink } from "../kernel/rtnetlink.ts";
import { readSysctl } from "../kernel/sysctl.ts";
import { attachedXdp } from "../kernel/xdp-attached.ts";
import type { DirectorConfig } from "../model/model.ts";
import { directorProblems, directorWarnings, type HostFacts } from "../plan/director-problems.ts";
import { pinFolder } from "./instance.ts";
import { refuseSecond } from "./running.ts";
import { StartError } from "./start-error.ts";

/**
 * What somebody should look at though the director starts.
 * @throws {StartError} when it cannot start; nothing was changed
 */
export async function refuseDirector(
  config: DirectorConfig,
  rtnetlink: Rtnetlink,
): Promise<readonly string[]> {
  const needed = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] as const;
  const unmet = unmetRequirement("run a director", needed, readMachineFacts());
  // Without these there is nothing else to look at.
  if (unmet !== null) throw new StartError([unmet]);
  if (!isOnBpffs(BPFFS)) {
    throw new StartError([
      `Cannot run a director: no BPF file system is mounted at ${BPFFS}; mount it with "mount -t bpf bpf ${BPFFS}"`,
    ]);
  }
  await refuseSecond(config.instance, "director");
  const facts = hostFacts(config, rtnetlink);
  const problems = directorProblems(config, facts);
  if (problems.length > 0) throw new StartError(problems);
  return directorWarnings(config, facts);
}

function hostFacts(config: DirectorConfig, rtnetlink: Rtnetlink): HostFacts {
  return {
    links: rtnetlink.links(),
    addresses: rtnetlink.addresses(),
    routeTo: ({ address }) => rtnetlink.route(address),
    ownIfindexes: ownLinks(pinFolder(config.instance, "director")),
    xdpProgramOn: ({ ifindex }) => {
      const attached = attachedXdp(ifindex);
      if (attached === null) return "of unknown origin";
      return `id ${attached.programId}${attached.name === null ? "" : ` "${attached.name}"`}`;
    },
    forwarding: {
      ipv4: readSysctl(["net", "ipv4", "ip_forward"]) === "1",
      ipv6: readSysctl(["net", "ipv6", "conf", "all", "forwarding"]) === "1",
    },
    cpus: possibleCpuLimit(),
  };
}
