/** What the tests of the agent share: its program, loaded, with one director and one VIP of each family. */
import { ProgramType } from "../../bpf/image.ts";
import { release } from "node:os";
import { compile } from "../../bpf/program.ts";
import { skip } from "../../kernel/kernel-fixture.ts";
import { isAtLeast, parseKernelVersion } from "../../kernel/kernel-version.ts";
import { XDP_DROP, XDP_PASS } from "../../bpf/xdp.ts";
import { type BpfMap, createMap } from "../../kernel/maps.ts";
import { possibleCpuLimit } from "../../kernel/possible-cpus.ts";
import { type BpfProgram, loadProgram } from "../../kernel/programs.ts";
import { TestRun } from "../../kernel/test-run.ts";
import { defaultTunnels } from "../../model/model.ts";
import { ip } from "../../net/address.ts";
import { wholePrefix } from "../../net/prefix.ts";
import { CounterMemory } from "../counter-memory.ts";
import { agentReasons } from "../reasons.ts";
import type { ReferenceAgent } from "../reference/agent.ts";
import { agentEntries, agentVariant, mapsOf } from "./contents.ts";
import { agentMaps } from "./maps.ts";
import { agentProgram, agentTcProgram, TCX_NEXT } from "./program.ts";

export const VIP = "192.0.2.10";
export const VIP_6 = "2001:db8::10";
export const DIRECTOR = "198.51.100.1";
export const DIRECTOR_6 = "2001:db8:20::1";

export const agentWorld: ReferenceAgent = {
  vips: [ip(VIP), ip(VIP_6)].map(wholePrefix),
  directors: [ip(DIRECTOR), ip(DIRECTOR_6)].map(wholePrefix),
  tunnels: defaultTunnels,
  dscp: [],
  vlanTags: 0,
};

export type AgentFormName = "xdp" | "tc";

/** Why a form cannot be tried here: TC programs attach by link, which is what agents do, from 6.6 on. */
export const skipOf = (form: AgentFormName): string | false =>
  skip ||
  (form === "xdp" || isAtLeast(parseKernelVersion(release()), 6, 6)
    ? false
    : `Linux ${release()} has no TCX, which agents need for TC`);

export interface Received {
  readonly verdict: number;
  /** Valid until the next run. */
  readonly packet: Uint8Array;
  /** Reasons that rose, each as `name packets/bytes`. */
  readonly counted: readonly string[];
}

/** A loaded agent. Dispose of it to close what it holds. */
export class AgentUnderTest {
  readonly program: BpfProgram;
  readonly testRun: TestRun;
  readonly #maps: ReadonlyMap<unknown, BpfMap>;
  readonly #counters: CounterMemory;

  readonly #form: AgentFormName;

  constructor(world: ReferenceAgent = agentWorld, form: AgentFormName = "xdp") {
    this.#form = form;
    const declared = agentMaps(possibleCpuLimit());
    const { counters } = declared;
    const variant = agentVariant(declared, world, world.vlanTags);
    this.#maps = new Map(mapsOf(variant).map((spec) => [spec, createMap(spec)]));
    this.#counters = new CounterMemory(this.#map(counters.map), counters);
    for (const { map, key, value } of agentEntries(declared, world)) {
      this.#map(map).update(key, value);
    }
    const image = compile(form === "xdp" ? agentProgram(variant) : agentTcProgram(variant));
    this.program = loadProgram(image, (spec) => this.#map(spec).fd);
    this.testRun = new TestRun(this.program.fd, {
      maxPacket: 3000,
      type: form === "xdp" ? ProgramType.BPF_PROG_TYPE_XDP : ProgramType.BPF_PROG_TYPE_SCHED_CLS,
    });
  }

  /** Runs one packet and says which reasons rose. */
  run(packet: Uint8Array): Received {
    const before = this.counters();
    const { verdict, packet: out } = this.send(packet);
    const after = this.counters();
    const counted = agentReasons.flatMap(({ name }, index) => {
      const packets = (after[index * 2] ?? 0n) - (before[index * 2] ?? 0n);
      const bytes = (after[index * 2 + 1] ?? 0n) - (before[index * 2 + 1] ?? 0n);
      return packets === 0n && bytes === 0n ? [] : [`${name} ${packets}/${bytes}`];
    });
    return { verdict, packet: out, counted };
  }

  /** Runs one packet; the verdict as XDP has it. */
  send(packet: Uint8Array): Pick<Received, "verdict" | "packet"> {
    const { verdict, packet: out } = this.testRun.run(packet);
    if (this.#form === "xdp") return { verdict, packet: out };
    return { verdict: verdict === TCX_NEXT >>> 0 ? XDP_PASS : XDP_DROP, packet: out };
  }

  /** Packets and bytes of every reason, in the order of `agentReasons`. */
  counters(): BigUint64Array {
    const counters = this.#counters.readMany(0, agentReasons.length);
    return BigUint64Array.from(counters.flatMap(({ packets, bytes }) => [packets, bytes]));
  }

  [Symbol.dispose](): void {
    this.program.close();
    this.#counters.close();
    for (const map of this.#maps.values()) map.close();
  }

  #map(spec: unknown): BpfMap {
    const map = this.#maps.get(spec);
    if (map === undefined) throw new Error("The program uses a map that was not declared");
    return map;
  }
}
