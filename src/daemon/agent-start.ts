/** Reads what decides whether an agent can start here, and refuses with every reason at once. */
import { readAgentSysctls } from "../apply/agent-host.ts";
import { readAgentState } from "../apply/agent-state.ts";
import { ownLinks } from "../apply/generation.ts";
import { BPF_CAPABILITIES } from "../kernel/capabilities.ts";
import { BPFFS, isOnBpffs } from "../kernel/pins.ts";
import { readMachineFacts, unmetRequirement } from "../kernel/requirements.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { attachedXdp } from "../kernel/xdp-attached.ts";
import type { AgentConfig } from "../model/model.ts";
import { agentProblems } from "../plan/agent-problems.ts";
import { agentStateFile, pinFolder } from "./instance.ts";
import { runningPid, runsAlready } from "./running.ts";
import { StartError } from "./start-error.ts";

/** @throws {StartError} when an agent cannot start; nothing was changed */
export async function refuseAgent(config: AgentConfig): Promise<void> {
  const unmet = unmetRequirement("run an agent", BPF_CAPABILITIES, readMachineFacts());
  // Without Linux there is nothing else to look at.
  if (unmet !== null && process.platform !== "linux") throw new StartError([unmet]);
  const hasBpffs = isOnBpffs(BPFFS);
  const problems = [
    ...(unmet === null ? [] : [unmet]),
    ...(hasBpffs
      ? []
      : [
          `Cannot run an agent: no BPF file system is mounted at ${BPFFS}; mount it with "mount -t bpf bpf ${BPFFS}"`,
        ]),
    ...(await runningProblems(config.instance)),
    ...hostProblems(config, unmet === null && hasBpffs),
  ];
  if (problems.length > 0) throw new StartError(problems);
}

async function runningProblems(instance: string): Promise<readonly string[]> {
  const pid = await runningPid(instance, "agent");
  if (pid === null) return [];
  return [runsAlready(instance, "agent", String(pid))];
}

function hostProblems(config: AgentConfig, canReadPins: boolean): readonly string[] {
  using rtnetlink = Rtnetlink.open();
  return agentProblems(config, {
    links: rtnetlink.links(),
    addresses: rtnetlink.addresses(),
    ownIfindexes: canReadPins ? ownLinks(pinFolder(config.instance, "agent")) : new Set(),
    xdpProgramOn: ({ ifindex }) => {
      const attached = attachedXdp(ifindex);
      if (attached === null) return "of unknown origin";
      return `id ${attached.programId}${attached.name === null ? "" : ` "${attached.name}"`}`;
    },
    sysctls: readAgentSysctls(config.interfaces),
    knownSysctls: readAgentState(agentStateFile(config.instance)).sysctls,
  });
}
