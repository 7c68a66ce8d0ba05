/**
 * Whose a flow is while all backends are up: the same pure function the kernel program computes. It
 * says of a connection that broke whether it was one that had to move.
 */
import { DEFAULT_HASH_KEY, flowHash, flowHashKey } from "../datapath/flow-hash.ts";
import type { DirectorConfig } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { buildTablesInWorker } from "../schedule/worker.ts";

const IPPROTO_TCP = 6;

export interface TcpFlow {
  readonly client: string;
  readonly clientPort: number;
  readonly vip: string;
  readonly vipPort: number;
}

export type FlowOwner = (flow: TcpFlow) => string;

/** For the first pool of a configuration. */
export async function flowOwner(config: DirectorConfig): Promise<FlowOwner> {
  const backends = config.pools[0]?.backends ?? [];
  const [plan] = await buildTablesInWorker([backends]);
  const key = flowHashKey(config.hashKey ?? DEFAULT_HASH_KEY);
  return ({ client, clientPort, vip, vipPort }) => {
    const bytes = Buffer.concat([ip(client).bytes, ip(vip).bytes, Buffer.alloc(4)]);
    bytes.writeUInt16BE(clientPort, bytes.length - 4);
    bytes.writeUInt16BE(vipPort, bytes.length - 2);
    const words = Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readUInt32LE(at * 4));
    const bucket = flowHash(key, [...words, IPPROTO_TCP]) & ((plan?.size ?? 1) - 1);
    return backends[plan?.base[bucket] ?? -1]?.name ?? "";
  };
}
