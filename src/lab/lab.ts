/**
 * The lab: the network, the director and agents that `carom` runs, HTTP servers and a client. All of
 * it is processes of this one, and goes with it.
 */
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import type { DirectorStatus } from "../api/director.ts";
import { ask } from "../api/socket.ts";
import { readDirectorConfig } from "../config/read.ts";
import { socketPath } from "../daemon/instance.ts";
import { entryUrl } from "../kernel/entry.ts";
import type { BackendState, DirectorConfig } from "../model/model.ts";
import { formatIp, sameIp } from "../net/address.ts";
import { formatPrefix } from "../net/prefix.ts";
import { DaemonProcess } from "./daemon-process.ts";
import { LoadClient } from "./load-client.ts";
import { buildNetwork, type Network } from "./network.ts";
import { addressOf, labTopology, type LabNodeName } from "./topology.ts";

/** The file a process of the lab starts with. */
const entry = (name: string): string => fileURLToPath(entryUrl(`./${name}`, import.meta.url));

const example = (name: string): string =>
  fileURLToPath(new URL(`../../examples/lab/${name}`, import.meta.url));

export const LAB_DIRECTOR_CONFIG: string = example("director.yaml");
export const LAB_AGENT_CONFIG: string = example("agent.yaml");

export const backendNodes = ["backend-1", "backend-2", "backend-3"] as const;
export type BackendNodeName = (typeof backendNodes)[number];

const LOOK_AGAIN_MS = 10;
const NEXT_HOPS_WITHIN_MS = 10_000;

export interface LabOptions {
  /** Configuration of the director; the example's by default. */
  readonly directorConfig?: string;
  /** Configuration of each agent, the example's by default; `null` for a node that has none. */
  readonly agentConfig?: (node: BackendNodeName) => string | null;
}

/** Where a backend of the configuration lives. */
export interface LabBackend {
  readonly name: string;
  readonly node: BackendNodeName;
}

export class Lab {
  readonly network: Network<LabNodeName>;
  readonly config: DirectorConfig;
  readonly backends: readonly LabBackend[];
  readonly client: LoadClient;
  readonly director: DaemonProcess;
  readonly agents: readonly DaemonProcess[];

  private constructor(
    network: Network<LabNodeName>,
    config: DirectorConfig,
    client: LoadClient,
    director: DaemonProcess,
    agents: readonly DaemonProcess[],
  ) {
    this.network = network;
    this.config = config;
    this.backends = backendsOf(config);
    this.client = client;
    this.director = director;
    this.agents = agents;
  }

  /**
   * Builds the network, starts everything at once and waits until the director knows the way to
   * every backend.
   * @throws {Error} with what a daemon said, when it does not start; nothing is left then
   */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const { directorConfig: file = LAB_DIRECTOR_CONFIG, agentConfig = () => LAB_AGENT_CONFIG } =
      options;
    const config = await readDirectorConfig(file);
    const port = portOf(config);
    const servers = backendsOf(config).map(({ name, node }) => [
      node,
      { argv: [process.execPath, entry("server-main"), name, String(port)] },
    ]);
    const network = await buildNetwork(labTopology(), {
      holders: {
        ...Object.fromEntries(servers),
        client: { argv: [process.execPath, entry("client-main")], output: "pipe" },
      },
    });
    try {
      const { nodes } = network;
      nodes.client.process.stderr?.pipe(process.stderr);
      const client = new LoadClient(nodes.client);
      const [director, ...agents] = await Promise.all([
        DaemonProcess.start(nodes.director, ["director", "--config", file], "director running"),
        ...backendNodes.flatMap((name) => {
          const agentFile = agentConfig(name);
          if (agentFile === null) return [];
          const argv = ["agent", "--config", agentFile];
          return [DaemonProcess.start(nodes[name], argv, "agent serving")];
        }),
      ]);
      const lab = new Lab(network, config, client, director, agents);
      await lab.#resolved();
      return lab;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  /** Addresses of the first service, as text. */
  get vips(): readonly string[] {
    return (this.config.services[0]?.vips ?? []).map(formatPrefix);
  }

  /** Of the first service. */
  get port(): number {
    return portOf(this.config);
  }

  async status(): Promise<DirectorStatus> {
    const { body } = await ask(this.#socket, "GET", "/v1/status");
    return body as DirectorStatus;
  }

  /** @throws {Error} when the director refuses */
  async setBackendState(pool: string, backend: string, state: BackendState): Promise<void> {
    const route = `/v1/pools/${pool}/backends/${backend}/state`;
    const { status, body } = await ask(this.#socket, "PUT", route, { state });
    if (status !== 200) throw new Error(`The director refuses: ${JSON.stringify(body)}`);
  }

  /** Takes everything down and waits until its processes are gone. */
  async close(): Promise<void> {
    await this.network.close();
  }

  get #socket(): string {
    return this.network.nodes.director.path(socketPath(this.config.instance, "director"));
  }

  /** A packet to a neighbour that is still being asked for would be lost, and sent again a second later. */
  async #resolved(): Promise<void> {
    const deadline = AbortSignal.timeout(NEXT_HOPS_WITHIN_MS);
    for (;;) {
      const waiting = (await this.status()).pools
        .flatMap(({ backends }) => backends)
        .filter(({ nextHop }) => nextHop === null);
      if (waiting.length === 0) return;
      if (deadline.aborted) {
        const names = waiting.map(({ name }) => name).join(", ");
        throw new Error(`The director does not find the way to ${names}`);
      }
      await delay(LOOK_AGAIN_MS);
    }
  }
}

/** Which node a configured backend is, by its address. */
export function backendsOf(config: DirectorConfig): LabBackend[] {
  const { nodes } = labTopology();
  return (config.pools[0]?.backends ?? []).map(({ name, address }) => {
    const node = backendNodes.find((candidate) =>
      sameIp(addressOf(nodes[candidate], address.family), address),
    );
    if (node === undefined) {
      throw new Error(
        `Backend "${name}" has no node in the lab: ${formatIp(address)} is none of its addresses`,
      );
    }
    return { name, node };
  });
}

function portOf(config: DirectorConfig): number {
  const ports = config.services[0]?.ports ?? "all";
  return ports === "all" ? 80 : (ports[0]?.first ?? 80);
}
