/**
 * Packets per second over a veth pair, the director's program attached to the driver of one end, beside
 * bare XDP_TX in its place:
 *
 *     generator (live frames) ── in ═══ out: the program, XDP_TX ═══ in: counts and drops
 *
 * All three run on one processor, so this is the rate of the whole; the share is what counts. A veth
 * pair costs some hundred nanoseconds a packet, much like a driver.
 */
import { globalData, progArray } from "../src/bpf/maps.ts";
import { compile } from "../src/bpf/program.ts";
import { xdp, XDP_DROP } from "../src/bpf/xdp.ts";
import { attachXdp } from "../src/kernel/links.ts";
import { type BpfMap, createMap, type MappedValues } from "../src/kernel/maps.ts";
import { Netns } from "../src/kernel/netns.ts";
import { loadProgram } from "../src/kernel/programs.ts";
import { Rtnetlink } from "../src/kernel/rtnetlink.ts";
import { Ipv4, Ipv6 } from "../src/packet/headers.ts";
import type { Case } from "./cases.ts";
import { quantile } from "./figures.ts";
import type { Stage } from "./subject.ts";
import { IFINDEX, ways } from "./world.ts";
import type { Wrapper } from "./wrapper.ts";

export interface Rate {
  readonly name: string;
  readonly flows: number;
  readonly packetsPerSecond: number;
  /** With `return XDP_TX` in the director's place. */
  readonly barePacketsPerSecond: number;
  /** Median over the rounds of the one over the other. */
  readonly share: number;
  /** The same of the floor: what is possible. */
  readonly floorShare: number | null;
  /** The same of `bpf_xdp_adjust_head` alone, for as many bytes as the tunnel adds: no tunnel has more. */
  readonly movedShare: number | null;
}

const GENERATOR_IFINDEX = 6;
const received = globalData("bench_received", 8);
const target = progArray("bench_target", 1);

/** Pieces of a round, director and bare XDP_TX by turns. */
const PIECES = 10;

/** Measures every case by rounds that alternate with bare XDP_TX. */
export async function packetRates(
  stage: Stage,
  cases: readonly Case[],
  options: { readonly rounds: number; readonly packets: number },
): Promise<readonly Rate[]> {
  using cable = new Cable(stage);
  const rates: Rate[] = [];
  for (const each of cases) {
    const { contenders } = await stage.subject(each, false);
    const fdOf = (what: string): number | undefined =>
      contenders.find((contender) => contender.what === what)?.program.fd;
    const added = addedBytes(each);
    const fds = {
      director: fdOf("director"),
      bare: stage.empty().fd,
      floor: fdOf("floor"),
      moved: added === 0 ? undefined : stage.moved(added).fd,
    };
    const runners = (["director", "bare", "floor", "moved"] as const).flatMap((who) => {
      const fd = fds[who];
      return fd === undefined ? [] : [{ who, fd }];
    });
    const wrapper = stage.wrapper(each.traffic);
    const piece = Math.ceil(options.packets / PIECES);
    const rounds = Array.from({ length: options.rounds }, () => {
      const seconds = { director: 0, bare: 0, floor: 0, moved: 0 };
      for (let turn = 0; turn < PIECES; turn += 1) {
        for (const { who, fd } of turn % 2 === 0 ? runners : runners.toReversed()) {
          seconds[who] += cable.secondsFor(wrapper, fd, each, piece);
        }
      }
      return seconds;
    });
    const packets = piece * PIECES;
    const median = (figure: (seconds: (typeof rounds)[number]) => number): number =>
      quantile(rounds.map(figure), 0.5);
    rates.push({
      name: each.name,
      flows: each.traffic.flows,
      packetsPerSecond: Math.round(median(({ director }) => packets / director)),
      barePacketsPerSecond: Math.round(median(({ bare }) => packets / bare)),
      share: median(({ director, bare }) => bare / director),
      floorShare: fds.floor === undefined ? null : median(({ floor, bare }) => bare / floor),
      movedShare: fds.moved === undefined ? null : median(({ moved, bare }) => bare / moved),
    });
  }
  return rates;
}

/** Bytes that a tunnel puts in front; 0 for what is none. */
function addedBytes({ world: { way } }: Case): number {
  const { forwarding, family } = ways[way];
  const shim = { l2: null, dscp: null, ipip: 0, gre: 4, fou: 8, gue: 12 }[forwarding];
  return shim === null ? 0 : shim + (family === 4 ? Ipv4.size : Ipv6.size);
}

/** A veth pair in a network namespace of its own, which goes with this process. */
class Cable {
  readonly #stack = new DisposableStack();
  readonly #netns: Netns;
  readonly #received: MappedValues;
  /** What the attached program goes on in: exchanged by one store, where a link waits for grace periods. */
  readonly #target: BpfMap;
  readonly #stage: Stage;

  /** @throws {KernelError} */
  constructor(stage: Stage) {
    this.#stage = stage;
    this.#netns = this.#stack.use(Netns.create());
    const map = this.#stack.use(createMap(received));
    this.#received = map.mmap();
    this.#stack.defer(() => this.#received.unmap());
    const sink = this.#stack.use(
      loadProgram(
        compile(
          xdp("carom_sink", (p) => {
            p.mapValue(received).place(8).increase(1);
            p.return(XDP_DROP);
          }),
        ),
        () => map.fd,
      ),
    );
    this.#target = this.#stack.use(createMap(target));
    const door = this.#stack.use(
      loadProgram(
        compile(xdp("carom_door", (p) => p.tailCall(p.contextRegister, target, 0, XDP_DROP))),
        () => this.#target.fd,
      ),
    );
    this.#netns.run(() => {
      const rtnetlink = this.#stack.use(Rtnetlink.open());
      rtnetlink.createVeth(
        { name: "in", ifindex: GENERATOR_IFINDEX },
        { name: "out", ifindex: IFINDEX },
      );
      for (const ifindex of [GENERATOR_IFINDEX, IFINDEX]) rtnetlink.setLink(ifindex, { up: true });
      const mode = "native";
      this.#stack.use(attachXdp({ programFd: sink.fd, ifindex: GENERATOR_IFINDEX, mode }));
      this.#stack.use(attachXdp({ programFd: door.fd, ifindex: IFINDEX, mode }));
    });
  }

  /** How long `packets` packets take to come back through the program behind `fd`. */
  secondsFor(wrapper: Wrapper, fd: number, { traffic }: Case, packets: number): number {
    this.#target.update(new Uint8Array(4), new Uint8Array(Uint32Array.of(fd).buffer));
    const before = this.#count();
    const stretchesNs = this.#netns.run(() =>
      wrapper.generate(this.#stage.empty().fd, traffic, { ifindex: GENERATOR_IFINDEX, packets }),
    );
    const arrived = Number(this.#count() - before) / packets;
    return (quantile(stretchesNs, 0.5) * packets) / arrived / 1e9;
  }

  #count(): bigint {
    return new DataView(this.#received.bytes.buffer).getBigUint64(0, true);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
