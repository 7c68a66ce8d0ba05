/** The hash as a program computes it is the hash of `flowHash()`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../bpf/program.ts";
import { xdp, XDP_DROP, XDP_TX } from "../bpf/xdp.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { loadProgram } from "../kernel/programs.ts";
import { TestRun } from "../kernel/test-run.ts";
import {
  DEFAULT_HASH_KEY,
  emitFlowHash,
  FLOW_WORDS_MAX,
  flowHash,
  flowHashKey,
} from "./flow-hash.ts";
import { Random } from "./fuzz-fixture.ts";

const PACKET = 64;
const SEED = Math.floor(Math.random() * 2 ** 32);

for (const [name, secret] of [
  ["the default key", DEFAULT_HASH_KEY],
  ["a random key", new Random(SEED).bytes(32)],
] as const) {
  for (const count of [0, 1, 2, 4, FLOW_WORDS_MAX]) {
    test(`emitFlowHash() of ${count} words under ${name} is flowHash(), seed ${SEED}`, {
      skip,
    }, () => {
      const key = flowHashKey(secret);
      // Words from the start of the packet, the hash into its last four bytes.
      const program = xdp("carom_hash", (p) => {
        const packet = p.packet();
        packet.require(PACKET, XDP_DROP);
        const words = Array.from({ length: count }, (_, index) =>
          packet.data
            .plus(index * 4)
            .place(4)
            .read(),
        );
        packet.data
          .plus(PACKET - 4)
          .place(4)
          .set(
            emitFlowHash(
              p,
              key,
              p.constant(key[0] ?? 0n, 8),
              words.map((word, index) => [index + 1, word] as const),
            ),
          );
        p.return(XDP_TX);
      });
      using loaded = loadProgram(compile(program), () => assert.fail("no map in it"));
      const testRun = new TestRun(loaded.fd, { maxPacket: PACKET });
      const random = new Random(SEED + count);
      for (let round = 0; round < 2000; round += 1) {
        const packet =
          round === 0
            ? new Uint8Array(PACKET)
            : round === 1
              ? new Uint8Array(PACKET).fill(255)
              : random.bytes(PACKET);
        const words = Array.from(new Uint32Array(packet.buffer, 0, count));
        const { verdict, packet: out } = testRun.run(packet);
        assert.equal(verdict, XDP_TX);
        const hash = new DataView(out.buffer, out.byteOffset).getUint32(PACKET - 4, true);
        assert.equal(hash, flowHash(key, words), words.join(" "));
      }
    });
  }
}
