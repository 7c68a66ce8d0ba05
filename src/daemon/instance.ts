/**
 * Where an instance keeps what outlives a process: pins in the BPF file system, its socket, its run
 * state. Names in a BPF file system have no dots, so interfaces are named by their index there.
 */

export type Role = "director" | "agent";

/** Has a folder for each instance. */
export const PIN_ROOT = "/sys/fs/bpf/carom";

/** The folder of an instance's pins for a role: `apply/generation.ts` says what lies in it. */
export const pinFolder = (instance: string, role: Role): string =>
  `${PIN_ROOT}/${instance}/${role}`;

export const RUN_FOLDER = "/run/carom";

/** An instance's own: names of instances have no dots, so `RUN_FOLDER` may hold sockets beside them. */
export const runFolder = (instance: string): string => `${RUN_FOLDER}/${instance}`;

/** The socket of a daemon's API; that somebody answers there is what says that it runs. */
export const socketPath = (instance: string, role: Role): string =>
  `${runFolder(instance)}/${role}.sock`;

/** What the agent changed on its host, to be put back. Gone after a reboot, as the changes are. */
export const agentStateFile = (instance: string): string => `${runFolder(instance)}/agent.json`;

/** States of backends that are not up, for the director's next start. */
export const directorStateFile = (instance: string): string =>
  `${runFolder(instance)}/director.json`;
