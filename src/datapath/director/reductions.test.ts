/** What goes first when a kernel refuses a program, and what never does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultTunnels } from "../../model/model.ts";
import { ip } from "../../net/address.ts";
import { mac } from "../../net/mac.ts";
import { indexShape } from "../../model/arena-size.ts";
import { DEFAULT_HASH_KEY, flowHashKey } from "../flow-hash.ts";
import { directorMaps } from "./maps.ts";
import { reductionsOf } from "./reductions.ts";
import type { DirectorVariant } from "./variant.ts";

const plain: DirectorVariant = {
  maps: directorMaps({ arenaBytes: 2 ** 20, index: indexShape(1, 1), counters: 1, cpus: 1 }),
  hashKey: flowHashKey(DEFAULT_HASH_KEY),
  ifindex: 2,
  mac: mac("00:00:5e:00:53:01"),
  addresses: { ipv4: null, ipv6: null },
  features: {
    ipv4: true,
    ipv6: true,
    forwardings: [],
    hashKeys: false,
    wideIpv4: null,
    wideIpv6: null,
  },
  tunnels: defaultTunnels,
  outerSources: { ipv4: null, ipv6: null },
  vlanTags: 0,
};
const everything: DirectorVariant = {
  ...plain,
  addresses: { ipv4: ip("198.51.100.2"), ipv6: null },
  tunnels: { ...defaultTunnels, udpChecksum: true },
  vlanTags: 2,
};

test("reductionsOf() leaves out more and more, and says what", () => {
  assert.deepEqual(
    reductionsOf(everything, false).map(({ variant, without }) => [
      without.length,
      without.at(-1),
      variant.tunnels.udpChecksum,
      variant.addresses.ipv4 !== null,
      variant.vlanTags,
    ]),
    [
      [0, undefined, true, true, 2],
      [1, "checksums of outer UDP headers", false, true, 2],
      [2, "answers when a TTL ends", false, false, 2],
      [3, "packets with VLAN tags", false, false, 0],
    ],
  );
});

test("reductionsOf() never leaves out tags that frames leave with", () => {
  assert.equal(reductionsOf(everything, true).at(-1)?.variant.vlanTags, 2);
});

test("reductionsOf() has nothing to leave out of a plain variant", () => {
  assert.deepEqual(reductionsOf(plain, false), [{ variant: plain, without: [] }]);
});
