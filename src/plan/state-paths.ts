/** What the ways of a desired state have in common, and whether two states go the same ways. Pure. */
import { formatIp } from "../net/address.ts";
import { formatMac } from "../net/mac.ts";
import type { DesiredState } from "./desired-state.ts";
import type { Path } from "./path.ts";

/** Equal for states whose members all go the same ways. */
export const pathsText = (state: DesiredState): string =>
  state.pools.flatMap(({ members }) => members.map(({ path }) => pathText(path))).join("\n");

/** The most VLAN tags that any next hop's frames have. */
export const mostTags = ({ pools }: DesiredState): number =>
  Math.max(
    0,
    ...pools.map(({ members }) =>
      members.reduce((most, { path }) => Math.max(most, path?.tags?.length ?? 0), 0),
    ),
  );

const pathText = (path: Path | null): string =>
  path === null
    ? "none"
    : [
        path.ifindex,
        formatMac(path.mac),
        formatIp(path.neighbour),
        formatIp(path.source),
        path.mtu,
        path.neighbourIfindex ?? "",
        ...(path.tags ?? []).map(({ protocol, id }) => `${protocol}.${id}`),
      ].join(" ");
