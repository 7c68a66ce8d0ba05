/** What a running director says of itself. Pure: counters and records in, the API's words out. */
import type { DirectorStatus, PoolStatus } from "../api/director.ts";
import { trafficOf } from "../api/traffic.ts";
import type { CounterValue } from "../datapath/counter-memory.ts";
import type { DirectorAttachment } from "../apply/director-datapath.ts";
import type { NextHopStatus } from "../apply/next-hop-records.ts";
import type { BackendState, DirectorConfig, Pool } from "../model/model.ts";
import { portRangeText } from "../model/port-range.ts";
import { formatIp, sameIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import { formatPrefix } from "../net/prefix.ts";
import type { DesiredPool, DesiredState } from "../plan/desired-state.ts";
import { neighbourDevice } from "../plan/path.ts";
import type { LiveTable } from "../schedule/live-table.ts";

export interface StatusSources {
  readonly config: DirectorConfig;
  readonly state: DesiredState;
  readonly attachments: readonly DirectorAttachment[];
  readonly stateOf: (pool: string, backend: string) => BackendState;
  readonly live: ReadonlyMap<string, LiveTable>;
  readonly nextHops: readonly NextHopStatus[];
  readonly reasons: Readonly<Record<string, CounterValue>>;
  /** Counters by number, as `DesiredState` gives them. */
  readonly traffic: (first: number, count: number) => readonly CounterValue[];
}

export function directorStatus(sources: StatusSources): DirectorStatus {
  const { config, state, attachments } = sources;
  const services = sources.traffic(0, config.services.length);
  const reasons = { ...sources.reasons, forwarded: sumOf(services) };
  return {
    instance: config.instance,
    pid: process.pid,
    interfaces: attachments.map((attachment) => ({
      name: attachment.interface,
      mode: attachment.mode,
      verifiedInstructions: attachment.verifiedInstructions,
      xlatedBytes: attachment.xlatedBytes,
      vlanTags: attachment.vlanTags,
      without: attachment.without,
    })),
    services: config.services.map(({ name, vips, protocol, ports, hashKey, pool }, index) => ({
      name,
      vips: vips.map(formatPrefix),
      protocol,
      ports: ports === "all" ? [ports] : ports.map(portRangeText),
      hashKey,
      pool,
      ...trafficOf(services[index]),
    })),
    pools: config.pools.map((pool, index) =>
      poolStatus(sources, pool, state.pools[index] as DesiredPool),
    ),
    reasons: Object.fromEntries(
      Object.entries(reasons).map(([name, counter]) => [name, trafficOf(counter)]),
    ),
    received: trafficOf(sumOf(Object.values(reasons))),
  };
}

function poolStatus(sources: StatusSources, pool: Pool, desired: DesiredPool): PoolStatus {
  const counts = sources.live.get(pool.name)?.counts;
  const members = sources.traffic(desired.memberCounters, pool.backends.length);
  return {
    name: pool.name,
    buckets: desired.table.size,
    backends: pool.backends.map((backend, index) => {
      const path = desired.members[index]?.path ?? null;
      const mac = sources.nextHops.find(
        ({ ifindex, neighbour }) =>
          path !== null && ifindex === neighbourDevice(path) && sameIp(neighbour, path.neighbour),
      )?.mac;
      return {
        name: backend.name,
        address: formatIp(backend.address),
        forwarding: backend.forwarding,
        weight: backend.weight,
        state: sources.stateOf(pool.name, backend.name),
        buckets: counts?.[index] ?? 0,
        nextHop: mac === null || mac === undefined ? null : formatMac(mac),
        ...trafficOf(members[index]),
      };
    }),
  };
}

const sumOf = (counters: readonly CounterValue[]): CounterValue => ({
  packets: counters.reduce((sum, { packets }) => sum + packets, 0n),
  bytes: counters.reduce((sum, { bytes }) => sum + bytes, 0n),
});
