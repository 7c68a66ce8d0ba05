/** What a running director says of itself. Pure: counters and records in, the API's words out. */
import type { DirectorStatus, PoolStatus, Traffic } from "../api/director.ts";
import type { CounterValue } from "../apply/director-datapath.ts";
import type { Attachment } from "../apply/generation.ts";
import type { NextHopStatus } from "../apply/next-hop-records.ts";
import type { BackendState, DirectorConfig, Pool } from "../model/model.ts";
import { formatIp, sameIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import type { DesiredPool, DesiredState } from "../plan/desired-state.ts";
import type { LiveTable } from "../schedule/live-table.ts";

export interface StatusSources {
  readonly config: DirectorConfig;
  readonly state: DesiredState;
  readonly attachments: readonly Attachment[];
  readonly states: ReadonlyMap<string, ReadonlyMap<string, BackendState>>;
  readonly live: ReadonlyMap<string, LiveTable>;
  readonly nextHops: readonly NextHopStatus[];
  readonly reasons: Readonly<Record<string, CounterValue>>;
  readonly services: readonly CounterValue[];
  readonly members: readonly CounterValue[];
}

export function directorStatus(sources: StatusSources): DirectorStatus {
  const { config, state, attachments, reasons } = sources;
  const all = Object.values(reasons);
  return {
    instance: config.instance,
    pid: process.pid,
    interfaces: attachments.map((attachment) => ({
      name: attachment.interface,
      mode: attachment.mode,
      verifiedInstructions: attachment.verifiedInstructions,
      xlatedBytes: attachment.xlatedBytes,
    })),
    services: config.services.map(({ name, vips, protocol, ports, pool }, index) => ({
      name,
      vips: vips.map(formatIp),
      protocol,
      ports,
      pool,
      ...traffic(sources.services[index]),
    })),
    pools: config.pools.map((pool, index) =>
      poolStatus(sources, pool, state.pools[index] as DesiredPool),
    ),
    reasons: Object.fromEntries(
      Object.entries(reasons).map(([name, counter]) => [name, traffic(counter)]),
    ),
    received: {
      packets: all.reduce((sum, { packets }) => sum + Number(packets), 0),
      bytes: all.reduce((sum, { bytes }) => sum + Number(bytes), 0),
    },
  };
}

function poolStatus(sources: StatusSources, pool: Pool, desired: DesiredPool): PoolStatus {
  const counts = sources.live.get(pool.name)?.counts;
  return {
    name: pool.name,
    buckets: desired.table.size,
    backends: pool.backends.map((backend, index) => {
      const path = desired.members[index]?.path ?? null;
      const mac = sources.nextHops.find(
        ({ ifindex, neighbour }) =>
          path !== null && ifindex === path.ifindex && sameIp(neighbour, path.neighbour),
      )?.mac;
      return {
        name: backend.name,
        address: formatIp(backend.address),
        forwarding: backend.forwarding,
        weight: backend.weight,
        state: sources.states.get(pool.name)?.get(backend.name) ?? "up",
        buckets: counts?.[index] ?? 0,
        nextHop: mac === null || mac === undefined ? null : formatMac(mac),
        ...traffic(sources.members[desired.memberCounters + index]),
      };
    }),
  };
}

const traffic = (counter: CounterValue | undefined): Traffic => ({
  packets: Number(counter?.packets ?? 0n),
  bytes: Number(counter?.bytes ?? 0n),
});
