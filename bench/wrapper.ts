/**
 * The program that runs in front of the one under test, once for every packet, because
 * BPF_PROG_TEST_RUN does not restore the packet between repetitions: without it the second run would
 * see what the first one left, an encapsulated packet or another station's MAC. It
 *
 *  1. takes a clock stamp before the first packet and after each stretch of some thousands,
 *  2. moves the start of the packet back to where it was,
 *  3. picks a flow at random (xorshift64: Marsaglia, "Xorshift RNGs", 2003) and writes its headers,
 *  4. goes on in the target by a tail call the kernel turns into a direct jump.
 *
 * It calls no helper but `bpf_xdp_adjust_head`, and that always, so that a target which adds a header
 * pays for its own call only. All it knows lies in one map value, shared with this process.
 */
import { Helper } from "../src/bpf/helpers.ts";
import { bytes, pad, struct, u32, u64 } from "../src/bpf/layout.ts";
import { globalData, progArray } from "../src/bpf/maps.ts";
import { compile, type Program } from "../src/bpf/program.ts";
import type { Value } from "../src/bpf/value.ts";
import type { Pointer } from "../src/bpf/view.ts";
import { xdp } from "../src/bpf/xdp.ts";
import { attachXdp, type BpfLink } from "../src/kernel/links.ts";
import { type BpfMap, createMap, type MappedValues } from "../src/kernel/maps.ts";
import { Netns } from "../src/kernel/netns.ts";
import { type BpfProgram, loadProgram } from "../src/kernel/programs.ts";
import { TestRun } from "../src/kernel/test-run.ts";
import { Ethernet, Vlan } from "../src/packet/headers.ts";
import { runLive } from "./live-run.ts";
import {
  CLIENT_BITS,
  FIRST_SOURCE_PORT,
  firstFrame,
  type Shape,
  shapeOf,
  SPREAD,
  type Traffic,
} from "./traffic.ts";

/** Of enum xdp_action: what went wrong in the wrapper itself. */
const XDP_ABORTED = 0;
const HEAD_BYTES = 96;
const STAMPS_MAX = 1024;
/** Stretches of a run: enough for a median, and the clock is read seldom. */
const STRETCHES = 100;

const WrapperState = struct(
  "bench_state",
  {
    /** Of the generator; never 0. */
    random: u64,
    flows: u32,
    destinations: u32,
    /** Of the first destination and the first client, host order. */
    destination: u32,
    source: u32,
    frameBytes: u32,
    /** Packets of a stretch less one; a stretch is a power of two. */
    stretchMask: u32,
    /** Packets so far. */
    packets: u32,
    /** Stamps so far. */
    stamps: u32,
    /** The flow of the last packet. */
    flow: u32,
    _aligned: pad(4),
    /** The first bytes of flow 0's frame; what differs between flows is zero. */
    head: bytes(HEAD_BYTES),
    _reserved: pad(48),
  },
  { size: 192 },
);

const stateMap = globalData("bench_state", WrapperState.size + STAMPS_MAX * 8);
const targetMap = progArray("bench_target", 1);

/** Emits what comes before the target: the frame of a flow picked at random, `leave` beside it. */
export function wrapperProgram(shape: Shape): Program {
  return xdp("carom_bench", (p) => {
    const state = p.mapValue(stateMap).as(WrapperState);
    const stamps = p.mapValue(stateMap, WrapperState.size);
    const packets = state.packets.read();
    state.packets.set(packets.add(1));
    p.if(packets.and(state.stretchMask).eq(0), () => {
      const stamp = state.stamps.read();
      const slot = stamps.plus(stamp.and(STAMPS_MAX - 1).shl(3));
      state.stamps.set(stamp.add(1));
      slot.place(8).set(p.call(Helper.ktimeGetNs));
    });

    const grown = p.packet().length().sub(state.frameBytes);
    p.call(Helper.xdpAdjustHead, p.contextRegister, grown);
    const packet = p.packet();
    packet.require(Math.max(shape.ports + 4, (shape.checksum ?? 0) + 2), XDP_ABORTED);

    let random: Value = state.random.read();
    random = random.xor(random.shl(13));
    random = random.xor(random.shr(7));
    random = random.xor(random.shl(17));
    state.random.set(random);
    const flow = random.shr(32).mul(state.flows.read().u64()).shr(32).u32();
    state.flow.set(flow);

    const head = p.mapValue(stateMap, WrapperState.offsets.head);
    // In words that no load of a program straddles: a load of two stores' bytes waits for both.
    for (const [offset, size] of fixedWords(shape)) copy(packet.data, head, offset, size);
    const source = state.source.read().add(flow.and(2 ** CLIENT_BITS - 1));
    const spread = flow.mul(SPREAD | 0).u64();
    const chosen = spread.mul(state.destinations.read().u64()).shr(32).u32();
    const destination = state.destination.read().add(chosen);
    for (const [offset, value] of [
      [shape.source, source],
      [shape.destination, destination],
    ] as const) {
      const word = value.toNetwork().raw();
      if (shape.family === 4) {
        packet.data.plus(offset).place(4).set(word);
      } else {
        const start = offset - 4;
        const whole = head.plus(start).place(8).read().or(word.u64().shl(32));
        packet.data.plus(start).place(8).set(whole);
      }
    }
    const sourcePort = flow.shr(CLIENT_BITS).add(FIRST_SOURCE_PORT).toNetwork(2).raw().u32();
    const ports = head.plus(shape.ports).place(4).read().or(sourcePort);
    packet.data.plus(shape.ports).place(4).set(ports);
    p.tailCall(p.contextRegister, targetMap, 0, XDP_ABORTED);
  });
}

/**
 * Offset and size of what is the same for all flows and what programs change: MACs, VLAN tags,
 * EtherType, IP headers up to the addresses' ends. Options and extension headers nobody changes.
 */
function fixedWords({ net, family, checksum }: Shape): readonly (readonly [number, 2 | 4 | 8])[] {
  const words: (readonly [number, 2 | 4 | 8])[] = [
    [0, 8],
    [8, 4],
  ];
  const [first = Ethernet.size, inner = first] = net;
  for (let at = 12; at < first - 2; at += Vlan.size) words.push([at, 4]);
  words.push([first - 2, 2]);
  // An outer header is IPv4, and its addresses are those of all flows.
  if (inner !== first) words.push([first, 8], [first + 8, 4], [first + 12, 4], [first + 16, 4]);
  if (family === 4) words.push([inner, 8], [inner + 8, 4]);
  else words.push([inner, 8], [inner + 8, 8], [inner + 24, 8]);
  if (checksum !== null) words.push([checksum, 2]);
  return words;
}

const copy = (to: Pointer, from: Pointer, offset: number, size: 2 | 4 | 8): void =>
  to.plus(offset).place(size).set(from.plus(offset).place(size));

export interface WrappedRun {
  /** Of the last packet. */
  readonly verdict: number;
  readonly flow: number;
  /** As the target left it; valid until the next run. */
  readonly packet: Uint8Array;
  /** Nanoseconds a packet took, wrapper and all, in each stretch; empty when there was but one. */
  readonly stretchesNs: readonly number[];
}

/** A wrapper in the kernel, for any target. Dispose of it to close what it holds. */
export class Wrapper {
  readonly shape: Shape;
  readonly #program: BpfProgram;
  readonly #state: BpfMap;
  readonly #targets: BpfMap;
  readonly #memory: MappedValues;
  readonly #netns: Netns;
  readonly #link: BpfLink;
  readonly #run: TestRun;

  /** @throws {KernelError} when this process may not */
  constructor(shape: Shape) {
    this.shape = shape;
    this.#state = createMap(stateMap);
    this.#targets = createMap(targetMap);
    this.#memory = this.#state.mmap();
    const image = compile(wrapperProgram(shape));
    this.#program = loadProgram(
      image,
      (spec) => (spec === stateMap ? this.#state : this.#targets).fd,
    );
    // An attached program is in the XDP dispatcher already. Otherwise every run puts it in and takes it
    // out (net/bpf/test_run.c, bpf_prog_test_run_xdp()), two grace periods in which nothing is measured.
    this.#netns = Netns.create();
    this.#link = this.#netns.run(() =>
      attachXdp({ programFd: this.#program.fd, ifindex: LOOPBACK, mode: "generic" }),
    );
    this.#run = new TestRun(this.#program.fd, { maxPacket: 256 });
    this.#write({ random: 0x9e3779b97f4a7c15n });
  }

  /** Runs the program behind `targetFd` on `packets` packets. @throws {KernelError} */
  run(targetFd: number, traffic: Traffic, packets: number): WrappedRun {
    const frame = this.#prepare(targetFd, traffic, packets);
    const { verdict, packet } = this.#run.run(frame, { repeat: packets });
    return { verdict, packet, ...this.#outcome(packets) };
  }

  /**
   * Generates live packets, which fare as the program behind `targetFd` says, from a device of the
   * calling thread's network namespace. Gives the nanoseconds a packet took in each stretch.
   * @throws {KernelError}
   */
  generate(
    targetFd: number,
    traffic: Traffic,
    options: { readonly ifindex: number; readonly packets: number },
  ): readonly number[] {
    const frame = this.#prepare(targetFd, traffic, options.packets);
    runLive(this.#program.fd, frame, options);
    return this.#outcome(options.packets).stretchesNs;
  }

  [Symbol.dispose](): void {
    this.#link.close();
    this.#netns.close();
    this.#program.close();
    this.#memory.unmap();
    this.#state.close();
    this.#targets.close();
  }

  #prepare(targetFd: number, traffic: Traffic, packets: number): Uint8Array {
    const [own, asked] = [this.shape, shapeOf(traffic)].map((shape) => JSON.stringify(shape));
    if (asked !== own) throw new TypeError(`The wrapper is for ${own}, not for ${asked}`);
    this.#targets.update(SLOT, new Uint8Array(Uint32Array.of(targetFd).buffer));
    const frame = firstFrame(traffic);
    const stretchMask = stretchOf(packets) - 1;
    this.#write({ ...stateFor(traffic, frame), stretchMask, packets: 0, stamps: 0 });
    return frame;
  }

  #outcome(packets: number): Pick<WrappedRun, "flow" | "stretchesNs"> {
    const state = WrapperState.read(this.#memory.bytes);
    if (state.packets !== packets) {
      throw new Error(`Cannot measure: ${state.packets} of ${packets} packets went by`);
    }
    const stretchesNs = this.#stretches(state.stamps, state.stretchMask + 1);
    return { flow: state.flow, stretchesNs };
  }

  #write(state: Parameters<typeof WrapperState.write>[1]): void {
    WrapperState.write(this.#memory.bytes, state);
  }

  #stretches(stamps: number, stretch: number): readonly number[] {
    const { buffer, byteOffset } = this.#memory.bytes;
    const all = new BigUint64Array(buffer, byteOffset + WrapperState.size, stamps);
    return Array.from(
      { length: Math.max(stamps - 1, 0) },
      (_, index) => Number((all[index + 1] ?? 0n) - (all[index] ?? 0n)) / stretch,
    );
  }
}

const LOOPBACK = 1;
const SLOT = new Uint8Array(4);

/** Packets of a stretch: a power of two that leaves about `STRETCHES` of them. */
const stretchOf = (packets: number): number =>
  2 ** Math.max(0, Math.floor(Math.log2(packets / STRETCHES)));

function stateFor(traffic: Traffic, frame: Uint8Array): Parameters<typeof WrapperState.write>[1] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const at = shapeOf(traffic);
  const head = new Uint8Array(HEAD_BYTES);
  head.set(frame.subarray(0, HEAD_BYTES));
  head.fill(0, at.source, at.source + 4);
  head.fill(0, at.destination, at.destination + 4);
  head.fill(0, at.ports, at.ports + 2);
  return {
    flows: traffic.flows,
    destinations: traffic.destinations,
    source: view.getUint32(at.source),
    destination: view.getUint32(at.destination),
    frameBytes: frame.length,
    head,
  };
}
