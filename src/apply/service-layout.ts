/**
 * How a state's services are found by the program: which keys the index has, and the search beside it
 * for services that are more than one address, one port and one protocol. Depends on nothing but the
 * services, so a layout is good for every state that has the same ones.
 */
import { type IndexPlan, planIndex } from "../datapath/director/index-plan.ts";
import {
  ANCHOR_PROTOCOL,
  type ServiceKey,
  VIP_PROTOCOL,
} from "../datapath/director/service-index.ts";
import { planWide, type WidePlan } from "../datapath/director/wide-plan.ts";
import type { FlowHashKey } from "../datapath/flow-hash.ts";
import { FIVE_TUPLE, HashWords } from "../datapath/layout.ts";
import type { IndexShape } from "../model/arena-size.ts";
import type { HashKey } from "../model/model.ts";
import { formatPrefix, sameIpPrefix } from "../net/prefix.ts";
import { type DesiredService, distinctVips, exactPort } from "../plan/desired-state.ts";

export interface ServiceLayout {
  readonly services: readonly DesiredService[];
  readonly index: IndexPlan;
  /** What the key of this number stands for: a service, a branch of the search, or a VIP as such. */
  readonly keyed: readonly (
    | { readonly service: DesiredService }
    | { readonly branch: number }
    | null
  )[];
  readonly wide: WidePlan;
  /** The service of each slot of the search. */
  readonly wideSlots: readonly DesiredService[];
}

export const hashWordsOf: Readonly<Record<HashKey, number>> = {
  "five-tuple": FIVE_TUPLE,
  client: 0,
  "client-vip": HashWords.vip,
  "client-port": HashWords.servicePort,
};

/** @throws {RangeError} when the shape has no room for the services */
export function layOutServices(
  services: readonly DesiredService[],
  shape: IndexShape,
  hashKey: FlowHashKey,
): ServiceLayout {
  const keys: ServiceKey[] = [];
  const keyed: ServiceLayout["keyed"][number][] = [];
  const wideSlots: DesiredService[] = [];
  const slots = new Map<string, number>();
  const searched = [];
  for (const service of services) {
    const port = exactPort(service);
    const { vip, protocol, ports } = service;
    if (port !== null && protocol !== null) {
      keys.push({ vip: vip.address, port, protocol, hashWords: hashWordsOf[service.hashKey] });
      keyed.push({ service });
      continue;
    }
    // What a slot says may depend on the VIP: the code points of its members do.
    const name = `${service.counter} ${formatPrefix(vip)}`;
    let slot = slots.get(name);
    if (slot === undefined) {
      slot = wideSlots.length;
      slots.set(name, slot);
      wideSlots.push(service);
    }
    searched.push({ vip, protocol, ports, slot });
  }
  for (const vip of distinctVips(services)) {
    keys.push({ vip, port: 0, protocol: VIP_PROTOCOL });
    keyed.push(null);
  }
  const wide = planWide(searched);
  for (const { address, branch } of wide.anchors) {
    keys.push({ vip: address, port: 0, protocol: ANCHOR_PROTOCOL });
    keyed.push({ branch });
  }
  return { services, index: planIndex(keys, shape, hashKey), keyed, wide, wideSlots };
}

/** Whether a layout is good for these services too. */
export function isLaidOut(
  { services: before }: Pick<ServiceLayout, "services">,
  now: readonly DesiredService[],
): boolean {
  return (
    before.length === now.length &&
    before.every((service, index) => {
      const other = now[index];
      return (
        other !== undefined &&
        service.protocol === other.protocol &&
        service.ports.first === other.ports.first &&
        service.ports.last === other.ports.last &&
        service.hashKey === other.hashKey &&
        // Which slots of the search are one depends on it.
        service.counter === other.counter &&
        (service.vip === other.vip || sameIpPrefix(service.vip, other.vip))
      );
    })
  );
}
