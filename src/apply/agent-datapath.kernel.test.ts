/** A kernel that refuses the agent's program gets it without VLAN tags, in the form that was wanted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeVeth, skip } from "../kernel/kernel-fixture.ts";
import { KernelProcess } from "../kernel/kernel-process.ts";
import { BPFFS } from "../kernel/pins.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { defaultTunnels } from "../model/model.ts";
import { vip } from "../model/service-fixture.ts";
import { AgentDatapath } from "./agent-datapath.ts";
import { refusing } from "./refusing-fixture.ts";
import { removePins } from "./remove-pins.ts";

const tables = {
  vips: [vip("192.0.2.10")],
  directors: [vip("198.51.100.2")],
  tunnels: defaultTunnels,
  dscp: [],
};

const rows: readonly {
  readonly refusals: number;
  readonly vlanTags: number;
  readonly without: readonly string[] | null;
}[] = [
  { refusals: 0, vlanTags: 2, without: [] },
  { refusals: 1, vlanTags: 2, without: ["packets with VLAN tags"] },
  { refusals: 2, vlanTags: 2, without: null },
  { refusals: 1, vlanTags: 0, without: null },
];
for (const { refusals, vlanTags, without } of rows) {
  const name = `an agent behind ${vlanTags} VLAN tags whose program is refused ${refusals} times`;
  test(name, { skip, timeout: 20_000 }, async () => {
    await using stack = new AsyncDisposableStack();
    const rtnetlink = stack.use(Rtnetlink.open());
    if (rtnetlink.link("car0") === undefined) makeVeth("car0");
    const link = rtnetlink.link("car0");
    assert.ok(link);
    const kernel = await KernelProcess.start();
    stack.defer(() => kernel.close());
    const folder = `${BPFFS}/carom/test/agent`;
    stack.defer(() => void removePins(folder));
    const datapath = new AgentDatapath(folder, tables, vlanTags, refusing(kernel, refusals));
    stack.defer(() => datapath.close());
    const attached = datapath.attach(link, "native");
    if (without === null) {
      await assert.rejects(attached, { message: "The verifier refuses it" });
      return;
    }
    const attachment = await attached;
    assert.deepEqual(attachment.without, without);
    assert.equal(attachment.refusal, refusals === 0 ? null : "The verifier refuses it");
    assert.equal(rtnetlink.link("car0")?.xdp.length, 1);
  });
}
