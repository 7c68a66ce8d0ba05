/** A kernel that refuses programs gets them with less in them; what is forwarded is never given up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_HASH_KEY, flowHashKey } from "../datapath/flow-hash.ts";
import { ForwardingCode } from "../datapath/layout.ts";
import { makeVeth, skip } from "../kernel/kernel-fixture.ts";
import { KernelProcess } from "../kernel/kernel-process.ts";
import { BPFFS } from "../kernel/pins.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { indexShape } from "../model/arena-size.ts";
import { defaultTunnels } from "../model/model.ts";
import { ip } from "../net/address.ts";
import { type AttachOptions, DirectorDatapath } from "./director-datapath.ts";
import { refusing } from "./refusing-fixture.ts";

const given: AttachOptions = {
  hashKey: flowHashKey(DEFAULT_HASH_KEY),
  addressesOf: () => ({ ipv4: ip("198.51.100.2"), ipv6: ip("2001:db8::2") }),
  features: {
    ipv4: true,
    ipv6: true,
    forwardings: [ForwardingCode.l2, ForwardingCode.gueOverIpv4],
    hashKeys: false,
    wideIpv4: null,
    wideIpv6: null,
  },
  tunnels: { ...defaultTunnels, udpChecksum: true },
  outerSources: { ipv4: null, ipv6: null },
  vlanTags: 2,
  needsTags: false,
};

const rows: readonly {
  readonly refusals: number;
  readonly needsTags?: boolean;
  readonly without: readonly string[] | null;
}[] = [
  { refusals: 0, without: [] },
  { refusals: 1, without: ["checksums of outer UDP headers"] },
  { refusals: 2, without: ["checksums of outer UDP headers", "answers when a TTL ends"] },
  {
    refusals: 3,
    without: [
      "checksums of outer UDP headers",
      "answers when a TTL ends",
      "packets with VLAN tags",
    ],
  },
  { refusals: 4, without: null },
  { refusals: 3, needsTags: true, without: null },
];
for (const { refusals, needsTags = false, without } of rows) {
  const tags = needsTags ? ", where tags are needed" : "";
  test(`a director whose program is refused ${refusals} times${tags}`, {
    skip,
    timeout: 20_000,
  }, async () => {
    await using stack = new AsyncDisposableStack();
    const rtnetlink = stack.use(Rtnetlink.open());
    if (rtnetlink.link("car0") === undefined) makeVeth("car0");
    const link = rtnetlink.link("car0");
    assert.ok(link);
    const kernel = await KernelProcess.start();
    stack.defer(() => kernel.close());
    const sizes = { arenaBytes: 1 << 20, index: indexShape(1, 1), counters: 1 };
    const datapath = new DirectorDatapath(`${BPFFS}/test`, sizes, refusing(kernel, refusals));
    stack.defer(async () => {
      await datapath.undo();
      datapath.close();
    });
    const attached = datapath.attach([link], "native", { ...given, needsTags });
    if (without === null) {
      await assert.rejects(attached, { message: "The verifier refuses it" });
      return;
    }
    const [attachment] = await attached;
    assert.deepEqual(attachment?.without, without);
    assert.equal(attachment?.refusal, refusals === 0 ? null : "The verifier refuses it");
    assert.equal(attachment?.vlanTags, without.includes("packets with VLAN tags") ? 0 : 2);
    assert.equal(rtnetlink.link("car0")?.xdp.length, 1);
    // Made undone by hand: a run that succeeded stays.
    await kernel.detach({ linkPin: `${BPFFS}/test/link_${link.ifindex}` });
  });
}
